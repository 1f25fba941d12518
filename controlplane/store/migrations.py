"""The schema of the database, as ordered migrations that are recorded in the file. Never edit one that was released."""

from __future__ import annotations

import hashlib
from typing import cast

from sqlite_utils import Database, Migrations

from controlplane.schema.meta import Key
from controlplane.store import duetimes, keyindex, objects

MIGRATIONS = Migrations("keystead")


@MIGRATIONS()
def m001_objects(db: Database) -> None:
    """Objects, their index, and the sequence that numbers every write."""
    db.conn.execute("CREATE TABLE sequence (id INTEGER PRIMARY KEY CHECK (id = 1), value INTEGER NOT NULL)")
    db.conn.execute("INSERT INTO sequence VALUES (1, 0)")
    db.conn.execute("CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
    db.conn.execute(
        """CREATE TABLE objects (
             uid TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL,
             region TEXT, key_id TEXT, key_store TEXT, spec_set TEXT,
             generation INTEGER NOT NULL, synced_generation INTEGER NOT NULL, resource_version INTEGER NOT NULL,
             metadata BLOB NOT NULL, spec BLOB NOT NULL, status BLOB NOT NULL) WITHOUT ROWID"""
    )
    db.conn.execute("CREATE UNIQUE INDEX objects_name ON objects (kind, name)")
    db.conn.execute("CREATE UNIQUE INDEX objects_key_id ON objects (region, key_id) WHERE key_id IS NOT NULL")
    db.conn.execute("CREATE UNIQUE INDEX objects_version ON objects (resource_version)")
    db.conn.execute("CREATE INDEX objects_set ON objects (spec_set, kind) WHERE spec_set IS NOT NULL")
    db.conn.execute("CREATE INDEX objects_store ON objects (key_store) WHERE key_store IS NOT NULL")
    db.conn.execute(
        "CREATE TABLE tombstones (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, uid TEXT NOT NULL, name TEXT NOT NULL)"
    )
    db.conn.execute(
        """CREATE TABLE aliases (
             region TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL REFERENCES objects (uid),
             created_at REAL NOT NULL, updated_at REAL NOT NULL, PRIMARY KEY (region, name)) WITHOUT ROWID"""
    )
    db.conn.execute("CREATE INDEX aliases_uid ON aliases (uid)")


@MIGRATIONS()
def m002_material(db: Database) -> None:
    """Key tokens, what plugins keep, and the journal of calls that change a key store."""
    db.conn.execute(
        """CREATE TABLE tokens (
             name TEXT PRIMARY KEY, uid TEXT NOT NULL, token BLOB NOT NULL, checksum BLOB NOT NULL) WITHOUT ROWID"""
    )
    db.conn.execute("CREATE INDEX tokens_uid ON tokens (uid)")
    db.conn.execute(
        """CREATE TABLE plugin_state (
             store TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (store, name)) WITHOUT ROWID"""
    )
    db.conn.execute(
        """CREATE TABLE attempts (
             id INTEGER PRIMARY KEY, uid TEXT NOT NULL, verb TEXT NOT NULL, material TEXT NOT NULL,
             epoch INTEGER NOT NULL, started_at REAL NOT NULL, ended_at REAL, outcome TEXT, detail TEXT)"""
    )
    db.conn.execute("CREATE UNIQUE INDEX attempts_open ON attempts (uid) WHERE ended_at IS NULL")
    db.conn.execute("CREATE INDEX attempts_uid ON attempts (uid)")


@MIGRATIONS()
def m003_people(db: Database) -> None:
    """Credentials, plans, refused uses, and the lease of the reconciler."""
    db.conn.execute(
        """CREATE TABLE access_keys (
             access_key_id TEXT PRIMARY KEY, principal TEXT NOT NULL, sealed_secret BLOB NOT NULL,
             active INTEGER NOT NULL, created_at REAL NOT NULL) WITHOUT ROWID"""
    )
    db.conn.execute(
        """CREATE TABLE tokens_bearer (
             digest BLOB PRIMARY KEY, principal TEXT NOT NULL, created_at REAL NOT NULL) WITHOUT ROWID"""
    )
    db.conn.execute(
        """CREATE TABLE plans (
             id TEXT PRIMARY KEY, spec_set TEXT NOT NULL, created_at REAL NOT NULL, expires_at REAL NOT NULL,
             applied_at REAL, plan BLOB NOT NULL, desired BLOB NOT NULL) WITHOUT ROWID"""
    )
    db.conn.execute(
        """CREATE TABLE refused_uses (
             uid TEXT NOT NULL, principal TEXT NOT NULL, operation TEXT NOT NULL,
             count INTEGER NOT NULL, last_at REAL NOT NULL, PRIMARY KEY (uid, principal, operation)) WITHOUT ROWID"""
    )
    db.conn.execute(
        """CREATE TABLE lease (
             id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL, holder TEXT NOT NULL,
             taken_at REAL NOT NULL)"""
    )
    db.conn.execute("INSERT INTO lease VALUES (1, 0, '', 0)")


@MIGRATIONS()
def m004_events(db: Database) -> None:
    """What happened to objects, for people. ``version`` grows with every repeat, so it is no row id."""
    db.conn.execute(
        """CREATE TABLE events (
             version INTEGER NOT NULL, kind TEXT NOT NULL, uid TEXT NOT NULL, name TEXT NOT NULL, reason TEXT NOT NULL,
             message TEXT NOT NULL, first_at REAL NOT NULL, last_at REAL NOT NULL, count INTEGER NOT NULL)"""
    )
    db.conn.execute("CREATE UNIQUE INDEX events_version ON events (version)")
    db.conn.execute("CREATE INDEX events_uid ON events (uid, version)")


@MIGRATIONS()
def m005_key_index(db: Database) -> None:
    """What lists of keys are searched and sorted by; a later migration makes it anew and fills it."""
    db.conn.execute(
        """CREATE TABLE key_index (
             name TEXT PRIMARY KEY, uid TEXT NOT NULL UNIQUE, key_store TEXT NOT NULL,
             state_up TEXT NOT NULL, state_down TEXT NOT NULL, condition TEXT NOT NULL, key_spec TEXT NOT NULL,
             created_at REAL NOT NULL, due_at REAL, text TEXT NOT NULL, tags TEXT NOT NULL) WITHOUT ROWID"""
    )
    db.conn.execute("CREATE INDEX key_index_states ON key_index (key_store, state_up, state_down)")
    db.conn.execute("CREATE INDEX key_index_trouble ON key_index (condition) WHERE condition <> 'Synced'")


@MIGRATIONS()
def m006_grants(db: Database) -> None:
    """Grants; ``seq`` is never used twice, so that a page marker stays true."""
    db.conn.execute(
        """CREATE TABLE grants (
             seq INTEGER PRIMARY KEY AUTOINCREMENT, grant_id TEXT NOT NULL UNIQUE,
             uid TEXT NOT NULL REFERENCES objects (uid), region TEXT NOT NULL, grantee TEXT NOT NULL,
             retiring TEXT, retiring_service TEXT, likeness BLOB, body BLOB NOT NULL)"""
    )
    db.conn.execute("CREATE INDEX grants_grantee ON grants (uid, grantee)")
    db.conn.execute("CREATE UNIQUE INDEX grants_likeness ON grants (uid, likeness) WHERE likeness IS NOT NULL")
    db.conn.execute("CREATE INDEX grants_retiring ON grants (region, retiring) WHERE retiring IS NOT NULL")
    db.conn.execute(
        "CREATE INDEX grants_service ON grants (region, retiring_service) WHERE retiring_service IS NOT NULL"
    )


@MIGRATIONS()
def m007_last_uses(db: Database) -> None:
    """When each key was last used."""
    db.conn.execute(
        """CREATE TABLE last_uses (
             uid TEXT PRIMARY KEY, operation TEXT NOT NULL, at REAL NOT NULL, request_id TEXT NOT NULL) WITHOUT ROWID"""
    )


@MIGRATIONS()
def m008_imports(db: Database) -> None:
    """Import parameters: the digest of the token, the sealed half of the wrapping key until it expires, what became."""
    db.conn.execute(
        """CREATE TABLE imports (
             id INTEGER PRIMARY KEY, uid TEXT NOT NULL, token BLOB NOT NULL UNIQUE, wrapping_spec TEXT NOT NULL,
             algorithm TEXT NOT NULL, sealed BLOB, issued_by TEXT NOT NULL, issued_at REAL NOT NULL,
             valid_to REAL NOT NULL, uploaded_at REAL, imported_at REAL, material_id TEXT, refusal TEXT)"""
    )
    db.conn.execute("CREATE INDEX imports_uid ON imports (uid, id)")
    db.conn.execute("CREATE INDEX imports_valid_to ON imports (valid_to) WHERE sealed IS NOT NULL")


@MIGRATIONS()
def m009_credentials(db: Database) -> None:
    """Credentials belong to a uid, not to a name that another principal can have later."""
    db.conn.execute(
        """CREATE TABLE bearer_tokens (
             digest BLOB PRIMARY KEY, token_id TEXT NOT NULL UNIQUE, uid TEXT NOT NULL REFERENCES objects (uid),
             description TEXT NOT NULL, created_at REAL NOT NULL, expires_at REAL) WITHOUT ROWID"""
    )
    db.conn.execute(
        """INSERT INTO bearer_tokens
           SELECT t.digest, lower(hex(randomblob(8))), o.uid, '', t.created_at, NULL
           FROM tokens_bearer t JOIN objects o ON o.kind = 'Principal' AND o.name = t.principal"""
    )
    db.conn.execute("DROP TABLE tokens_bearer")
    db.conn.execute("CREATE INDEX bearer_tokens_uid ON bearer_tokens (uid)")
    db.conn.execute(
        """CREATE TABLE access_keys_of (
             access_key_id TEXT PRIMARY KEY, uid TEXT NOT NULL REFERENCES objects (uid), sealed_secret BLOB NOT NULL,
             active INTEGER NOT NULL, created_at REAL NOT NULL) WITHOUT ROWID"""
    )
    db.conn.execute(
        """INSERT INTO access_keys_of
           SELECT k.access_key_id, o.uid, k.sealed_secret, k.active, k.created_at
           FROM access_keys k JOIN objects o ON o.kind = 'Principal' AND o.name = k.principal"""
    )
    db.conn.execute("DROP TABLE access_keys")
    db.conn.execute("ALTER TABLE access_keys_of RENAME TO access_keys")
    db.conn.execute("CREATE INDEX access_keys_uid ON access_keys (uid)")


@MIGRATIONS()
def m010_key_index(db: Database) -> None:
    """The index of keys with origin and expiry, filled from the keys that are there."""
    db.conn.execute("DROP TABLE IF EXISTS key_index")
    db.conn.execute(
        """CREATE TABLE key_index (
             name TEXT PRIMARY KEY, uid TEXT NOT NULL UNIQUE, key_store TEXT NOT NULL,
             state_up TEXT NOT NULL, state_down TEXT NOT NULL, condition TEXT NOT NULL, key_spec TEXT NOT NULL,
             created_at REAL NOT NULL, due_at REAL, text TEXT NOT NULL, tags TEXT NOT NULL,
             origin TEXT NOT NULL, expires_at REAL) WITHOUT ROWID"""
    )
    db.conn.execute("CREATE INDEX key_index_states ON key_index (key_store, state_up, state_down)")
    db.conn.execute("CREATE INDEX key_index_trouble ON key_index (condition) WHERE condition <> 'Synced'")
    db.conn.execute("CREATE INDEX key_index_expires ON key_index (expires_at) WHERE expires_at IS NOT NULL")
    for row in db.conn.execute(f"SELECT {objects.COLUMNS} FROM objects WHERE kind = 'Key'").fetchall():
        keyindex.put(db.conn, cast(Key, objects.decode(row)))


@MIGRATIONS()
def m011_copies(db: Database) -> None:
    """What has to be written to or removed from other places; checksums of what plugins keep."""
    db.conn.execute(
        """CREATE TABLE copies_due (
             what TEXT NOT NULL, owner TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
             PRIMARY KEY (what, owner, name))"""
    )
    db.conn.execute("CREATE INDEX copies_due_state ON copies_due (state)")
    db.conn.execute("ALTER TABLE plugin_state ADD COLUMN checksum BLOB")
    for store, name, value in db.conn.execute("SELECT store, name, value FROM plugin_state").fetchall():
        db.conn.execute(
            "UPDATE plugin_state SET checksum = ? WHERE store = ? AND name = ?",
            (hashlib.sha256(bytes(value)).digest(), store, name),
        )


@MIGRATIONS()
def m012_external_keys(db: Database) -> None:
    """Which external key stands for which key: one for one in a key store."""
    db.conn.execute(
        """CREATE TABLE external_keys (
             key_store TEXT NOT NULL, external_id TEXT NOT NULL, uid TEXT NOT NULL REFERENCES objects (uid),
             PRIMARY KEY (key_store, external_id)) WITHOUT ROWID"""
    )
    db.conn.execute("CREATE INDEX external_keys_uid ON external_keys (uid)")


@MIGRATIONS()
def m013_claims(db: Database) -> None:
    """Which manager (a spec set, the KMS API, the reconciliation API) states which leaves of an object."""
    db.conn.execute(
        """CREATE TABLE claims (
             uid TEXT NOT NULL REFERENCES objects (uid), manager TEXT NOT NULL, leaves BLOB NOT NULL,
             generation INTEGER NOT NULL, by TEXT NOT NULL, at REAL NOT NULL,
             PRIMARY KEY (uid, manager)) WITHOUT ROWID"""
    )
    db.conn.execute("CREATE INDEX claims_manager ON claims (manager)")


@MIGRATIONS()
def m014_key_store_secrets(db: Database) -> None:
    """Secrets that were given over an API for a key store, sealed."""
    db.conn.execute(
        """CREATE TABLE key_store_secrets (
             uid TEXT NOT NULL, name TEXT NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (uid, name)) WITHOUT ROWID"""
    )


@MIGRATIONS()
def m014_findings(db: Database) -> None:
    """What a person found about a call whose outcome nobody else can find out."""
    db.conn.execute("ALTER TABLE attempts ADD COLUMN finding TEXT")


@MIGRATIONS()
def m015_external_key_askers(db: Database) -> None:
    """Whose request made a key that stands for an external key."""
    db.conn.execute("ALTER TABLE external_keys ADD COLUMN principal TEXT")
    db.conn.execute("ALTER TABLE external_keys ADD COLUMN request_id TEXT")


@MIGRATIONS()
def m016_due_times(db: Database) -> None:
    """When which key has to be looked at, filled from the keys that are there."""
    db.conn.execute("CREATE TABLE due_times (uid TEXT PRIMARY KEY, at REAL NOT NULL, version INTEGER NOT NULL)")
    db.conn.execute("CREATE INDEX due_times_at ON due_times (at, uid, version)")
    db.conn.execute("CREATE INDEX due_times_version ON due_times (version)")
    for row in db.conn.execute(f"SELECT {objects.COLUMNS} FROM objects WHERE kind = 'Key'").fetchall():
        duetimes.put(db.conn, cast(Key, objects.decode(row)))


@MIGRATIONS()
def m017_places_of_last_uses(db: Database) -> None:
    """Where in the audit journal the last use of a key is recorded."""
    db.conn.execute("ALTER TABLE last_uses ADD COLUMN chain TEXT")
    db.conn.execute("ALTER TABLE last_uses ADD COLUMN seq INTEGER")
