"""A Pacemaker cluster of two nodes as its commands show it: attributes that are remembered, and nothing that runs.

Stands for crm_attribute, crm_node, crm_resource and crm_simulate, by the name it is called under. It is what the client
under trial moves its resources with; the metadata service it talks to is the one that is proved.
"""
import os
import sys
from pathlib import Path

KEPT = Path(os.environ["CLUSTER"])


def attribute(words):
    said = {word: (words[index + 1] if index + 1 < len(words) else "") for index, word in enumerate(words)}
    file = KEPT / f"{said.get('--node', 'cluster')}.{said['--name']}".replace("/", "_")
    if "--update" in said:
        file.write_text(said["--update"])
    elif "--delete" in said:
        file.unlink(missing_ok=True)
    else:
        print(file.read_text() if file.exists() else "")


match Path(sys.argv[0]).name:
    case "crm_attribute":
        attribute(sys.argv[1:])
    case "crm_node":
        print(f"1 {os.uname().nodename} member\n2 the-other-node member")
    case "crm_simulate":
        print("Transition Summary:")
    case "crm_resource":
        print("drained (ocf::heartbeat:Dummy): Stopped: drained_stop_0 (rc=0): complete")
