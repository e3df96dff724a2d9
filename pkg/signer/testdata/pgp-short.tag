object 4a217bd25bea448c0a6d24cb7587905362e70865
type commit
tag approve/prod/pgp-short
tagger Lead <lead@shop.example> 1780311600 +0000

Approved.

- tests are green
-----BEGIN PGP SIGNATURE-----

iHsEABYIACMWIQRtw/Lz7deE/iAlOzT4Yi2AI7PyAAUCah1mMAWDABHaUAAKCRD4
Yi2AI7PyAC05AP4/Ln40/T7ghEK1myBDLlPFUOV6DVEXSJ2f5TffLVZICQD+ORe5
AFESw0j/kN/x1DeSz8zh7n88ojsalSDU1ABcMQA=
=MPWM
-----END PGP SIGNATURE-----
