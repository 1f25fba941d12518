"""The one table of actions: what a key does, for bindings, footer, help and palette, and its twin on the command line.

Who calls it: every screen makes its bindings from it (:func:`bindings`), the footer, help and palette read it. An
action's ``id`` names the method of the screen that does it (``do_`` and the id). Nothing else binds a letter.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec
from textual.binding import Binding


class Group(StrEnum):
    """Heading in help."""

    GO = "Go"
    LIST = "Lists"
    LOOK = "Look at an object"
    KEY = "Change keys"
    STORE = "Key stores"
    IMPORT = "Import"
    PLAN = "Plans"
    AUDIT = "Audit"
    APP = "This program"


class Action(msgspec.Struct, frozen=True):
    """One action. ``label`` is for the footer, ``says`` one sentence for help.

    ``writes`` are absent in a read-only program. ``marks`` apply to every marked row, or to the one under the cursor.
    ``server`` is the name under which the server says whether it would be allowed.
    """

    id: str
    key: str
    label: str
    says: str
    group: Group
    cli: tuple[str, ...] = ()
    """The commands that do the same; words in capitals stand for what a person fills in."""
    writes: bool = False
    marks: bool = False
    server: tuple[str, ...] = ()


class Section(msgspec.Struct, frozen=True):
    """One section of the program, a mode of the app. ``words`` are what a jump calls it."""

    id: str
    key: str
    title: str
    says: str
    words: tuple[str, ...]
    cli: tuple[str, ...] = ()


SECTIONS: Final = (
    Section("overview", "1", "Overview", "counts, key stores, and what needs a person", ("overview", "home", "o")),
    Section("keys", "2", "Keys", "every key with its state", ("keys", "key", "k"), ("keystead get keys",)),
    Section(
        "stores",
        "3",
        "Key stores",
        "where key material lives, and its connection",
        ("stores", "store", "keystores", "keystore", "s"),
        ("keystead get keystores",),
    ),
    Section(
        "imports",
        "4",
        "Imports",
        "keys whose material you bring, and how far each is",
        ("imports", "import", "i"),
        ("keystead import-material NAME status",),
    ),
    Section(
        "deletions",
        "5",
        "Deletions",
        "keys that are about to go, and the time left to keep them",
        ("deletions", "deletion", "del", "d"),
        ("keystead get keys",),
    ),
    Section(
        "plans",
        "6",
        "Plans",
        "what applying spec files would do, and doing it",
        ("plans", "plan", "p"),
        ("keystead plan PATH",),
    ),
    Section("audit", "7", "Audit", "who did what, as it happens", ("audit", "a"), ("keystead audit query",)),
)
"""In the order of their number keys."""
OTHER_SECTIONS: Final = (
    Section("principals", "", "Principals", "who may call the server", ("principals", "principal", "users", "who")),
    Section("proxies", "", "XKS proxies", "external keys of another KMS", ("proxies", "proxy", "xks")),
)
"""Reached by jumping only."""

ACTIONS: Final = (
    # ---- go
    *(
        Action(f"go-{each.id}", each.key, each.title, f"{each.title}: {each.says}.", Group.GO, cli=each.cli)
        for each in SECTIONS
    ),
    Action("jump", "colon", "jump", "Jump: type a section, a key store (@name), a filter (/word) or a key.", Group.GO),
    Action("back", "escape", "back", "Go back, or put away a filter, marks or a dialog.", Group.GO),
    Action("earlier", "left_square_bracket", "earlier", "To where you were before.", Group.GO),
    Action("later", "right_square_bracket", "later", "And forward again.", Group.GO),
    Action("last", "minus", "last", "Between this place and the last one.", Group.GO),
    # ---- lists
    Action(
        "filter",
        "slash",
        "filter",
        "Only rows that match: word, !word (not), -l tag=value (label), -f letters (fuzzy), @store, state:pending.",
        Group.LIST,
    ),
    Action("unhealthy", "ctrl+z", "only unhealthy", "Only what is not as declared or cannot be used.", Group.LIST),
    Action("sort", "s", "sort", "Sort by the next column.", Group.LIST),
    Action("reverse", "S", "reverse", "Turn the order round.", Group.LIST),
    Action("wide", "ctrl+w", "wide", "More columns.", Group.LIST),
    Action("mark", "space", "mark", "Mark this row; actions then apply to all marked rows.", Group.LIST),
    # ---- look
    Action("open", "enter", "open", "Show the object of this row.", Group.LOOK, cli=("keystead describe key NAME",)),
    Action("describe", "d", "describe", "Everything about it.", Group.LOOK, cli=("keystead describe key NAME",)),
    Action("yaml", "y", "yaml", "Its spec and status as YAML.", Group.LOOK, cli=("keystead get keys NAME --json",)),
    Action("events", "l", "events", "What happened to it lately.", Group.LOOK, cli=("keystead describe key NAME",)),
    Action(
        "reconcile",
        "r",
        "reconcile",
        "Have the server look at it now: a key is compared with its key store, a key store with its declaration.",
        Group.LOOK,
        cli=("keystead reconcile NAME --kind KIND",),
        writes=True,
        marks=True,
        server=("reconcile",),
    ),
    Action(
        "pause",
        "p",
        "pause/resume",
        "Have the server leave it as it is, or look after it again.",
        Group.LOOK,
        cli=("keystead pause NAME --kind KIND", "keystead resume NAME --kind KIND"),
        writes=True,
        marks=True,
        server=("pause", "resume"),
    ),
    # ---- keys
    Action(
        "toggle",
        "x",
        "disable/enable",
        "Disable a key, so that every use is refused; or enable it again.",
        Group.KEY,
        cli=("keystead disable NAME", "keystead enable NAME"),
        writes=True,
        marks=True,
        server=("disable", "enable"),
    ),
    Action(
        "cancel",
        "u",
        "cancel deletion",
        "Keep a key that is about to be deleted. It is disabled afterwards; x enables it.",
        Group.KEY,
        cli=("keystead cancel-deletion NAME",),
        writes=True,
        marks=True,
        server=("cancel-deletion",),
    ),
    Action(
        "delete",
        "ctrl+d",
        "delete…",
        "Schedule a key for deletion. It asks first, and nothing is destroyed for 7 to 30 days.",
        Group.KEY,
        cli=("keystead delete NAME",),
        writes=True,
        server=("schedule-deletion",),
    ),
    Action(
        "rotate",
        "R",
        "rotate",
        "Give it new material now; what was encrypted before stays readable.",
        Group.KEY,
        cli=("keystead rotate NAME",),
        writes=True,
        server=("rotate",),
    ),
    Action(
        "import",
        "i",
        "import…",
        "Import material that you bring, step by step.",
        Group.IMPORT,
        cli=(
            "keystead import-material NAME parameters --out DIR",
            "keystead import-material wrap --parameters DIR --in FILE --out FILE",
            "keystead import-material NAME upload --parameters DIR",
        ),
        writes=True,
    ),
    Action(
        "empty",
        "ctrl+x",
        "delete material…",
        "Delete its imported material at once. It asks first; importing the same again makes the key usable.",
        Group.IMPORT,
        cli=("keystead import-material NAME delete",),
        writes=True,
        server=("delete-material",),
    ),
    Action(
        "describe-edit",
        "e",
        "description…",
        "Edit its description.",
        Group.KEY,
        cli=("keystead set NAME --description TEXT",),
        writes=True,
        server=("edit",),
    ),
    Action(
        "tags-edit",
        "t",
        "tags…",
        "Edit its tags.",
        Group.KEY,
        cli=("keystead set NAME --tag TAG=VALUE --untag TAG",),
        writes=True,
        server=("edit",),
    ),
    # ---- key stores
    Action(
        "connect",
        "c",
        "connect",
        "Declare the key store connected, or try again now.",
        Group.STORE,
        cli=("keystead connect NAME",),
        writes=True,
        marks=True,
        server=("connect",),
    ),
    Action(
        "disconnect",
        "ctrl+d",
        "disconnect…",
        "Declare it disconnected. It asks first: its keys cannot be used meanwhile.",
        Group.STORE,
        cli=("keystead disconnect NAME",),
        writes=True,
        marks=True,
        server=("disconnect",),
    ),
    Action(
        "probe",
        "t",
        "probe…",
        "Try what it promises, with keys that are made for it and destroyed afterwards. It asks first.",
        Group.STORE,
        cli=("keystead probe NAME",),
        writes=True,
        server=("probe",),
    ),
    Action("store-keys", "enter", "its keys", "The keys that live in it.", Group.STORE, cli=("keystead get keys",)),
    # ---- plans
    Action("choose", "o", "look for files", "Look for a spec file or a directory of them.", Group.PLAN),
    Action(
        "path",
        "f",
        "type a path",
        "Type the path of spec files, with --target, --values and --spec-set as on the command line.",
        Group.PLAN,
        cli=("keystead plan PATH --target KIND/NAME --values FILE --spec-set NAME",),
    ),
    Action("plan", "r", "plan again", "Plan what the files say now.", Group.PLAN, cli=("keystead plan PATH",)),
    Action(
        "own",
        "w",
        "take ownership",
        "Plan again so that this set takes the fields and objects that are in conflict.",
        Group.PLAN,
        cli=("keystead plan PATH --take-ownership",),
    ),
    Action(
        "apply",
        "a",
        "apply…",
        "Apply exactly the plan that is shown. It asks first.",
        Group.PLAN,
        cli=("keystead apply --plan FILE",),
        writes=True,
    ),
    Action("take", "t", "take this directory", "Plan this directory.", Group.PLAN),
    Action("up", "backspace", "up", "To the directory above.", Group.PLAN),
    # ---- audit
    Action(
        "hold", "space", "hold/go on", "Hold the list while you read; what comes meanwhile is counted.", Group.AUDIT
    ),
    Action(
        "reads",
        "o",
        "show reads",
        "Show requests that only read, this program's own among them, or hide them.",
        Group.AUDIT,
    ),
    Action("record", "enter", "record", "The whole record.", Group.AUDIT, cli=("keystead audit query --json",)),
    Action(
        "verify",
        "v",
        "verify",
        "Check the journal on the server: nothing edited, removed or reordered.",
        Group.AUDIT,
        cli=("keystead audit verify DIR",),
    ),
    # ---- this program
    Action("help", "question_mark", "help", "This page.", Group.APP),
    Action("palette", "ctrl+p", "commands", "Find a command by its name.", Group.APP),
    Action("theme", "ctrl+t", "theme", "The next theme: dark, light, high contrast.", Group.APP),
    Action("quit", "q", "quit", "Leave. The server goes on by itself.", Group.APP),
)

BY_ID: Final = {action.id: action for action in ACTIONS}

EVERYWHERE: Final = (
    *(f"go-{section.id}" for section in SECTIONS),
    "jump",
    "back",
    "earlier",
    "later",
    "last",
    "help",
    "palette",
    "theme",
    "quit",
)
"""What every screen offers."""
LIST: Final = ("filter", "mark", "unhealthy", "sort", "reverse", "wide")
KEY: Final = (
    "cancel",
    "toggle",
    "import",
    "delete",
    "rotate",
    "reconcile",
    "pause",
    "describe-edit",
    "tags-edit",
    "empty",
)
LOOK: Final = ("describe", "yaml", "events")
ALWAYS_SHOWN: Final = ("filter", "jump", "help")
"""On the right of the line of keys, whatever else has room."""

PROMPTS: Final = ("slash", "colon")
"""Keys that open the prompt, unless they are typed into a field."""
_SHOWN: Final = {
    "colon": ":",
    "slash": "/",
    "question_mark": "?",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "minus": "-",
    "escape": "esc",
}


def shown_key(action: Action) -> str:
    """How the key of an action is written: ``^d``, ``esc``, ``?``."""
    return _SHOWN.get(action.key, action.key.replace("ctrl+", "^"))


def bindings(ids: Iterable[str]) -> list[Binding]:
    """Bindings of a screen that offers these actions. Enter belongs to the list or the field that has the focus.

    Those of :data:`PROMPTS` come before what has the focus, so that what is typed at once after them is in the prompt
    and no row of keys that do things.
    """
    keys = dict.fromkeys(BY_ID[each].key for each in ids)
    return [Binding(key, f"press('{key}')", show=False, priority=key in PROMPTS) for key in keys if key != "enter"]
