"""What a site's own DHCP server tells, and what it is told: `dhcp.mode = "off"`.

The server's log lines and what it calls its scripts with become one value (:mod:`bootserver.netboot.dhcp_events.sighting`),
from which machines are registered and addresses learned; the other way round, nodes become the server's host entries.
"""
