# The hook is fed what no libvirt gives it, and names that a shell would run: said clearly, nothing is run, and no VM that is not
# vfioneer's is kept from starting.
. /lab/lib.sh
. /lab/vms.sh
hook=$hooks/qemu.d/50-vfioneer
# shellcheck disable=SC2016 # that is the point
odd='a b; $(touch ran) `touch ran` "c'\''&<d'
cd /

# feed CODE NAME VM OPERATION SUBOPERATION: the hook, with $out/NAME.xml.
feed() {
    want "$1" "$2" "$hook" "$3" "$4" "$5" - <"$out/$2.xml"
    [ ! -e ran ] || problem "$2: a name was run"
    rm -f ran
    [ "$1" = 0 ] || grep -q '^vfioneer: .*XML' "$out/$2.err" || problem "$2: it does not say why"
}

start_daemon
define own "$nic" no
want 0 bind vfioneer bind "$nic" --yes
want 0 install vfioneer hook install --libvirt --vm own --yes
before=$(state "$nic")

# What is no domain at all.
head -c 5000 /dev/urandom >/tmp/garbage.xml
: >/tmp/empty.xml
echo '<domain><name>own</name><devices>' >/tmp/cut.xml
echo '<!DOCTYPE d [<!ENTITY a "x"><!ENTITY b "&a;&a;&a;&a;">]><domain><name>&b;</name></domain>' >/tmp/entity.xml
echo '<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><domain><name>&a;</name></domain>' >/tmp/file.xml
head -c 104857600 /dev/zero | tr '\0' ' ' >/tmp/large.xml
{ yes '<a>' | head -n 100000; } >/tmp/deep.xml
for kind in garbage empty cut entity file large deep; do
    ln -sf "/tmp/$kind.xml" "$out/$kind.xml"
    feed 0 "$kind" ghost prepare begin
    grep -q '^vfioneer: .*XML' "$out/$kind.err" || problem "$kind: nothing is said"
    feed 0 "$kind" ghost release end
    # Where it is known to be vfioneer's, no guess is made; what has ended has ended.
    code=0
    "$hook" own prepare begin - <"/tmp/$kind.xml" >"$out/own" 2>&1 || code=$?
    [ "$code" != 0 ] || problem "$kind: a VM of vfioneer's starts"
    feed 0 "$kind" own release end
    # Nothing that it has to look at.
    feed 0 "$kind" own reconnect begin
    feed 0 "$kind" own stopped end
    rm "$out/$kind.xml"
done
same 'the NIC' "$before" "$(state "$nic")"

# Names.
virsh dumpxml own >"$out/odd.xml"
for name in "$odd" '' -x --log=ran ../../../ran "$(printf 'a\nb')" "$(printf '\033[31mred')"; do
    feed 0 odd "$name" reconnect begin
    feed 0 odd "$name" prepare begin
    feed 0 odd "$name" release end
    same "the NIC after $name" "$before" "$(state "$nic")"
done
# A host device that is not there, or has no address.
sed 's/bus=.0x01./bus="0x7f"/' "$out/odd.xml" >"$out/missing.xml"
feed 0 missing ghost prepare begin
# shellcheck disable=SC2016
sed 's/bus=.0x01./bus="$(touch ran)"/' "$out/odd.xml" >"$out/address.xml"
feed 0 address ghost prepare begin

# Through libvirt itself.
restart_daemon
define "$(echo "$odd" | sed 's/&/\&amp;/g; s/</\&lt;/g')" "$nic" no
want 0 odd-start virsh -q start "$odd"
want 0 odd-end virsh -q destroy "$odd"
want 0 odd-history vfioneer history --vm "$odd"
same 'what was noted of it' '1 1' "$(grep -c ' prepare .* well ' "$out/odd-history") $(grep -c ' release .* well ' "$out/odd-history")"
[ ! -e ran ] || problem 'a name was run'
same 'the NIC at the end' "$before" "$(state "$nic")"
