"""What nova itself makes of a configuration: JSON on stdin, JSON on stdout.

In: a list of {"conf": text of nova.conf, "devices": [what libvirt's driver reports], "flavor": "a1:1" or null}.
Out: for each {"error": text} or {"specs": [addresses that are allowed], "aliases": {name: [addresses]}, "served": bool or null}.
"""

import json
import os
import sys
import tempfile

import nova.conf
from nova import exception, objects
from nova.pci import request, stats, whitelist

CONF = nova.conf.CONF


def device(given):
    made = objects.PciDevice.create(None, dict(given))
    made.compute_node_id = 1
    return made


def pools(devices, filter_):
    topology = objects.NUMATopology(cells=[])
    all_pools = stats.PciDeviceStats(topology, dev_filter=filter_)
    for one in devices:
        all_pools.add_device(device(one))
    return all_pools


def judge(case):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "nova.conf")
        with open(path, "w") as file:
            file.write(case["conf"])
        CONF.clear()
        CONF([], project="nova", default_config_files=[path], default_config_dirs=[])
    request.get_alias_from_config.cache_clear()
    try:
        filter_ = whitelist.Whitelist(CONF.pci.device_spec)
        aliases = request.get_alias_from_config()
    except (exception.PciConfigInvalidSpec, exception.PciInvalidAlias, exception.PciDeviceWrongAddressFormat,
            exception.PciDeviceInvalidDeviceName) as error:
        return {"error": str(error)}
    allowed = []
    for one in case["devices"]:
        try:
            if filter_.device_assignable(one):
                allowed.append(one)
        except exception.PciConfigInvalidSpec:
            pass  # As nova.pci.manager: an address that nova cannot have.
    given = {}
    for name in aliases:
        # Each alone: an alias may take any of them, not only the first.
        given[name] = [
            one["address"] for one in allowed
            if pools([one], filter_).support_requests(request._translate_alias_to_requests(f"{name}:1"), {})
        ]
    served = None
    if case["flavor"] is not None:
        try:
            wanted = request._translate_alias_to_requests(case["flavor"])
            served = bool(pools(allowed, filter_).support_requests(wanted, {}))
        except exception.PciRequestAliasNotDefined:
            served = False
    return {"specs": [one["address"] for one in allowed], "aliases": given, "served": served}


def main():
    objects.register_all()
    json.dump([judge(case) for case in json.load(sys.stdin)], sys.stdout)


main()
