object 4a217bd25bea448c0a6d24cb7587905362e70865
type commit
tag approve/prod/pgp-revoked
tagger Lead <lead@shop.example> 1780311600 +0000

Approved.

- tests are green
-----BEGIN PGP SIGNATURE-----

iHUEABYIAB0WIQSyCHihQ07oaOfxzP4ToXk0htqHeAUCah1mMAAKCRAToXk0htqH
eEyrAP9t6E9gqgWuALYXnKztixSZgFxI/p47P3p1Cb68AXuSfgD/TTFTANGQTlnA
vcrW3lcwmNc+/ZAcfrcTXW5lLTjhQwU=
=/8KB
-----END PGP SIGNATURE-----
