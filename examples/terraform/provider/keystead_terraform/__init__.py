"""A Terraform provider for Keystead, a distribution of its own.

``provider`` is what Terraform starts; ``fields`` says how an attribute of Terraform's and a field of a document belong
together; ``resource`` is what every kind of object does alike; ``kinds`` are the resources.
"""
