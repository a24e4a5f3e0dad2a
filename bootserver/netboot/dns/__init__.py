"""The cluster's names: answered from the view, handed to secondaries, and told to a site's own server.

``names`` says what there is, ``answer`` what a query gets, ``hot`` keeps answers encoded, ``server`` is the loop; ``streams``,
``transfer``, ``forward`` and ``update`` do what may take its time. Messages are dnspython's (RFC 1035 and its many children).
"""
