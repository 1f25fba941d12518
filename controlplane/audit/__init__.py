"""The audit journal: files of hash-chained JSON lines. They are apart from the database, because a record has to be
durable before every answer and nobody may be able to change it with a statement.

``journal`` writes, ``verifying`` checks, ``reading`` answers queries; ``records`` and ``chain`` are what they share.

On disk::

    DIRECTORY/chain-0/lock                      flock'ed by the process that writes this chain
    DIRECTORY/chain-0/segment-00000001.jsonl
    DIRECTORY/chain-0/segment-00000001.summary  made by readers of a segment that is full; a cache, trusted by no check
    DIRECTORY/chain-1/...                       one chain for each process that shares the directory

A line is ``{"seq":N,"prev":"HEX","hash":"HEX","record":{...}}``: ``prev`` is the ``hash`` of the line before (64 zeros
for a chain's first), ``hash`` is the SHA-256 of the line without its ``"hash":...,`` member and its line end. So the
number, the link and the content are all covered, and ``sed`` and ``sha256sum`` can check it. ``seq`` counts from 0
without gaps, through all segments. The first record of a segment is a :class:`SegmentNote`; a :class:`TailNote` tells
of a crash; all others are :class:`AuditRecord`.
"""
