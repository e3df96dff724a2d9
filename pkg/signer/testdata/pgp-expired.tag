object 4a217bd25bea448c0a6d24cb7587905362e70865
type commit
tag approve/prod/pgp-expired
tagger Lead <lead@shop.example> 1780311600 +0000

Approved.

- tests are green
-----BEGIN PGP SIGNATURE-----

iHUEABYIAB0WIQRy7gLbTFxQegTAXHAa7R4TCnwEugUCah1mMAAKCRAa7R4TCnwE
upziAP4mrfkTJEUXu570xkhsqPc0j7znzVDxe4VGAujzDXUcWQEA0Vy3FKRwEzqH
XvIZ58hDRof07vOZH4tMoqiBilyh7Qg=
=cY1M
-----END PGP SIGNATURE-----
