"""The host side of plugins: ``discovery`` finds them, ``connections`` keeps them, ``calls`` alone calls them."""
