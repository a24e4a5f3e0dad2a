"""DHCP for the networks that nodes boot in: RFC 2131 (protocol), RFC 2132 (options), RFC 951 (BOOTP), RFC 4578 (PXE).

Rooms: :mod:`wire` is bytes only; :mod:`request` reads what a machine says of itself; :mod:`reply` is where a reply goes (pure);
:mod:`link` is sockets, :mod:`filters` what the kernel hands to them; :mod:`loop` receives, :mod:`guard`, :mod:`sightings` and
:mod:`waiting` are its limits; :mod:`advertise` answers IPv6 router solicitations.

Two kinds of server: :mod:`server` gives addresses, :mod:`answer` decides (pure), :mod:`tail` is what a node is told.
:mod:`proxy_server` stands beside a site's own server, :mod:`proxy` decides (pure), :mod:`learning` finds out which address the
site gave, :mod:`neighbours` who has one.

Both look around: :mod:`probe` asks by ARP, :mod:`rogue` knows other servers, :mod:`neighbourhood` is both on one device.
"""
