"""The request path: a protocol pair between clients and the inference API. Knows a route table and its own meter, nothing else."""
