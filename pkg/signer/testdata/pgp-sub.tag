object 4a217bd25bea448c0a6d24cb7587905362e70865
type commit
tag approve/prod/pgp-sub
tagger Lead <lead@shop.example> 1780311600 +0000

Approved.

- tests are green
-----BEGIN PGP SIGNATURE-----

iQEzBAABCgAdFiEE3WyWXkZP6nTxMFIwowUrvWbx/JwFAmodZjAACgkQowUrvWbx
/JxRMgf9EKeLSDfUv8BwOM0Fg4WWFXtHqGqbs06f4bae2IPLMXB7dmj9+7r9J6UQ
m0t9vjRlLvCRFzzvzMPQ9BUPVsRLmBr9ISu3L2I7u1cluoN/VWeQsz5VnnL5m+AC
QVrKro+lW5zGgh6Tu3oG5Cjg5QEmiS0Q2hgiZdj1/dau1dndDcBF/Kcg1utwmhIt
D5l+CyinSlAC0nC08CJQmLJEOjP5BgWX+hB4aX5vHKAvZkP37ZMLgb/TZlcqAele
o9UMxePHUCRvNyWc4QcnZVfLzeBtwFm8043BufKuVVmZHvrDN7PsQ+7PzUCVKHFd
En339cb2SOfsN5iHtkrNLZpo7BMG2A==
=Ynhk
-----END PGP SIGNATURE-----
