object 221a7ce346210684051a783c12936d4928b00b69
type commit
tag approve/prod/pgp
tagger Lead <lead@shop.example> 1780311600 +0000

Approved.

- tests are green
-----BEGIN PGP SIGNATURE-----

iHUEABYIAB0WIQQRLx1hyrudVHqZYtcepgtgMbrb6gUCah1mMAAKCRAepgtgMbrb
6sk0AP9E5q13f2PfDj3hTa/pUZFUQdFA5zGwxyo6WqsrhWlJZgEA+GoR2nrdsUKm
hbpy8EEDTjec9HL0SxzBYv2TiPqYtwY=
=t+jl
-----END PGP SIGNATURE-----
