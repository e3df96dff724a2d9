object 502cf3248a380884854d3cbac32cfc30897d0e88
type commit
tag approve/prod/ed25519
tagger Lead <lead@shop.example> 1780311600 +0000

Approved.

- tests are green
