"""DHCP for the networks that nodes boot in: RFC 2131 (protocol), RFC 2132 (options), RFC 951 (BOOTP), RFC 4578 (PXE).

Rooms: :mod:`wire` is bytes only; :mod:`request` reads what a machine says of itself; :mod:`answer` decides (pure);
:mod:`tail` is what a node is told; :mod:`reply` is where a reply goes (pure); :mod:`link` is sockets;
:mod:`server` is the loop; :mod:`advertise` answers IPv6 router solicitations.
"""
