object 4a217bd25bea448c0a6d24cb7587905362e70865
type commit
tag approve/prod/pgp-late
tagger Lead <lead@shop.example> 1780311600 +0000

Approved.

- tests are green
-----BEGIN PGP SIGNATURE-----

iHUEABYIAB0WIQT/dBEsNl7e0Ws98u9031jgYa9gzgUCakZEsAAKCRB031jgYa9g
zjcAAP0QdCcEsIeLaKfvnMDPQLd0aLPVixdjBjCKhNWG5gNwrAD8C0CVZHeX3Zz4
X3utVVbbPn8HgSREFt9XBlDUnp4vywc=
=t1+x
-----END PGP SIGNATURE-----
