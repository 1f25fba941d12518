"""Who is asking, and may they: authentication (SigV4, bearer token) and authorisation with its reason."""
