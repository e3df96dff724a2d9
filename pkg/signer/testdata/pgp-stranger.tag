object 4a217bd25bea448c0a6d24cb7587905362e70865
type commit
tag approve/prod/pgp-stranger
tagger Lead <lead@shop.example> 1780311600 +0000

Approved.

- tests are green
-----BEGIN PGP SIGNATURE-----

iHUEABYIAB0WIQQso1vtAAKjO4MvdJVKfA/52JYBdAUCah1mMAAKCRBKfA/52JYB
dGygAQCWsZMmMEDSxtNZ7tRqSM5crhFbw3gGQ7D8Inikl3ut5QEAmxHuyDh5Itk+
HNF3ZxGo5imAyRD2VSqXa00MnGGWRwk=
=YTlQ
-----END PGP SIGNATURE-----
