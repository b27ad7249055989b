# vfioneer is killed at many moments of handing over, giving back and resetting: the next command brings everything back.
. /lab/lib.sh
rounds=8

# killed AFTER COMMAND…: runs it, and kills it after so many tenths of a second.
killed() {
    tenths=$1
    shift
    "$@" >>"$out/killed" 2>&1 &
    victim=$!
    sleep "$((tenths / 10)).$((tenths % 10))"
    kill -9 "$victim" 2>/dev/null || true
    wait "$victim" || true
}

before=$(state "$nic" "$gpu")
began=$(cut -d. -f1 /proc/uptime)
want 0 whole vfioneer bind "$nic" "$gpu" --yes
# A command may be killed at any moment until it has ended.
most=$((($(cut -d. -f1 /proc/uptime) - began + 1) * 10))
away=$(state "$nic" "$gpu")
want 0 whole-back vfioneer unbind "$nic" "$gpu" --yes
same 'there and back' "$before" "$(state "$nic" "$gpu")"
round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    moment=$((round * most / rounds))
    killed "$moment" vfioneer bind "$nic" "$gpu" --yes
    want 0 "home-$round" vfioneer unbind "$nic" "$gpu" --yes
    same "after bind was killed at $moment" "$before" "$(state "$nic" "$gpu")"
    want 0 "away-$round" vfioneer bind "$nic" "$gpu" --yes
    killed "$moment" vfioneer unbind "$nic" "$gpu" --yes
    want 0 "again-$round" vfioneer bind "$nic" "$gpu" --yes
    same "after unbind was killed at $moment" "$away" "$(state "$nic" "$gpu")"
    killed "$moment" vfioneer reset "$nic" --yes --method rescan
    want 0 "reset-$round" vfioneer reset "$nic" --yes
    same "after reset was killed at $moment" "$away" "$(state "$nic" "$gpu")"
    want 0 "last-$round" vfioneer unbind "$nic" "$gpu" --yes
done
[ ! -e /run/vfioneer/handed-over.json ] || problem "$(cat /run/vfioneer/handed-over.json)"
