"""The path of every request on keys: ``perform`` (resolve, authorise, gate, work, audit), ``operations`` (the crypto
operations on a key), ``envelope`` (the ciphertext format).
"""
