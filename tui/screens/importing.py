"""The import wizard: parameters, wrap, upload, expiry, review. Where it was left is where it goes on.

What it knows is in the folder of the import (:mod:`controlplane.importfiles`) and, while the program runs, in a draft
that the app keeps; so leaving it, or the program, loses nothing. Material in clear is never read here: it is wrapped
where it is kept, with the commands that step 2 shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Final

import msgspec
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Button, ContentSwitcher, Input, Label, RadioButton, RadioSet, Select

from controlplane.errors import KeysteadError
from controlplane.report import Line, Style, import_lines, moment, time_left
from controlplane.schema.imports import ImportedNow, ImportReport, WrappingAlgorithm, WrappingSpec
from controlplane.schema.keys import KeySpec, KeyState
from controlplane.schema.meta import Key, Kind
from tui import words
from tui.feed.messages import Answer, Outcome
from tui.feed.orders import FindImport, GetParameters, ImportFiles, Upload
from tui.feed.questions import Detail, Gone, ImportOf, OneObject
from tui.screens.base import Framed
from tui.widgets.lines import Lines

STEPS: Final = ("Parameters", "Wrap", "Upload", "Expiry", "Review")
HOUR_SECONDS: Final = 3_600
VALID_SECONDS: Final = 86_400
"""Parameters are valid for 24 hours (API reference)."""
MAX_DAYS: Final = 365
RSA_OCTETS: Final = {WrappingSpec.RSA_2048: 256, WrappingSpec.RSA_3072: 384, WrappingSpec.RSA_4096: 512}
ALGORITHMS: Final = (
    ("RSA_AES_KEY_WRAP_SHA_256: fits all material", WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_256),
    ("RSAES_OAEP_SHA_256: one OpenSSL command, for short symmetric keys", WrappingAlgorithm.RSAES_OAEP_SHA_256),
    ("RSA_AES_KEY_WRAP_SHA_1: for old devices", WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_1),
    ("RSAES_OAEP_SHA_1: for old devices", WrappingAlgorithm.RSAES_OAEP_SHA_1),
)
NEVER_READS = Line("This program never reads material in clear: it asks for the wrapped form only.", Style.GOOD)


class Draft(msgspec.Struct):
    """What was chosen so far for the import of one key."""

    directory: str
    step: int = 0
    wrapped: str = ""
    days: str = ""
    expiry: int = 0
    """0: as the key declares; 1: after ``days``."""
    new: bool = False
    looked: bool = False
    """The folder was looked into: what is there decides where the import goes on, once."""


class Choice(RadioButton):
    """One of several, with a dot where it is the chosen one: Textual's own differ in their colour only."""

    @property
    def BUTTON_INNER(self) -> str:  # type: ignore[override]
        return "●" if self.value else " "


class ImportScreen(Framed):
    """See the module."""

    section = "imports"
    about = (
        "Importing material in five steps. Continue and Back are buttons: tab reaches them, enter presses them.",
        "Leave it whenever you like: the folder keeps what belongs to it, and i on the key goes on where you were.",
        "Material in clear never comes here. It is wrapped where it is kept, with the commands of step 2.",
    )
    OFFERS: ClassVar[tuple[str, ...]] = ("events",)

    def __init__(self, name: str, draft: Draft) -> None:
        super().__init__()
        self.key_name, self.draft = name, draft
        self.files = ImportFiles(draft.directory)
        self.report: ImportReport | None = None
        self.key: Key | None = None
        self.result: ImportedNow | None = None
        self.busy = ""
        self.wrong = ""
        self._looking: FindImport | None = None
        """The newest question about the folder, while it is not answered. Answers to older ones are dropped: they
        tell of a folder before the parameters came into it, or of another file."""
        self._going_on_from: int | None = None
        """Continue was pressed on this step before the folder was looked into: it waits for that."""

    # ---- what it looks like ----------------------------------------------------------------------------------------

    def body(self) -> Iterable[Widget]:
        with Vertical(id="wizard"):
            yield Label("", id="step-bar", markup=False)
            with ContentSwitcher(initial="step-0", id="switcher"):
                with VerticalScroll(id="step-0", can_focus=False):
                    yield Lines(id="said-0", classes="said")
                    yield Label("Wrapping key", classes="field", id="spec-label")
                    yield Select(
                        [(each.value, each) for each in WrappingSpec],
                        value=WrappingSpec.RSA_4096,
                        allow_blank=False,
                        id="spec",
                        compact=True,
                    )
                    yield Label("Wrapping algorithm", classes="field", id="algorithm-label")
                    yield Select(ALGORITHMS, value=ALGORITHMS[0][1], allow_blank=False, id="algorithm", compact=True)
                    yield Label("Folder for the parameters (new; no secret is in it)", classes="field")
                    yield Input(self.draft.directory, id="directory")
                with VerticalScroll(id="step-1", can_focus=False):
                    yield Lines(id="said-1", classes="said")
                with VerticalScroll(id="step-2", can_focus=False):
                    yield Lines(id="said-2", classes="said")
                    yield Label("File with the wrapped material", classes="field")
                    yield Input(id="wrapped")
                with VerticalScroll(id="step-3", can_focus=False):
                    yield Lines(id="said-3", classes="said")
                    with RadioSet(id="expiry"):
                        yield Choice("as the key declares", value=True, id="as-declared")
                        yield Choice("after this many days")
                    yield Input(self.draft.days, placeholder="days, 1 to 365", id="days", type="integer", max_length=3)
                    yield Label("This material is", classes="field", id="kind-label")
                    with RadioSet(id="kind"):
                        yield Choice("the same as the key had before", value=True)
                        yield Choice("new: the next rotation makes it the current one")
                with VerticalScroll(id="step-4", can_focus=False):
                    yield Lines(id="said-4", classes="said")
            yield Label("", id="wizard-wrong", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Back", id="back")
                yield Button("Continue", id="next", variant="primary")

    def crumbs(self) -> tuple[str, str]:
        return f" imports › {self.key_name}", self.busy or "esc leaves; what is done stays"

    def focus_body(self) -> None:
        self.set_focus(self.query_one("#next"))

    # ---- what it knows ---------------------------------------------------------------------------------------------

    def ask(self) -> None:
        self.watch_question(ImportOf(self.key_name))
        self.watch_question(OneObject(Kind.KEY, self.key_name), "key")
        self.look()

    def look(self) -> None:
        """See what is in the folder."""
        self._looking = FindImport(self.key_name, self.draft.directory, self.draft.wrapped)
        self.order(self._looking)

    def answered(self, message: Answer) -> None:
        if isinstance(message.value, ImportReport):
            self.report = message.value
        elif isinstance(message.value, Detail):
            self.key = message.value.item if isinstance(message.value.item, Key) else None
        elif isinstance(message.value, Gone):
            self.wrong = message.value.message
        self.show()

    def finished(self, message: Outcome) -> None:
        if isinstance(message.order, FindImport):
            if message.order is not self._looking:
                return
            self._looking = None
        else:
            self.busy = ""
        if message.value != self.files:  # else what was said of it still holds
            self.wrong = ""
        match message:
            case Outcome(error=KeysteadError() as error):
                self.wrong = error.message
            case Outcome(order=FindImport(), value=ImportFiles() as files):
                self.found(files)
                going, self._going_on_from = self._going_on_from == self.draft.step, None
                if going:
                    self.go_on()
            case Outcome(order=GetParameters(directory=directory)) if directory != self.draft.directory:
                self.wrong = f"the parameters are in {directory}; name that folder to go on with them"
            case Outcome(order=GetParameters(), value=ImportFiles() as files):
                self.draft.wrapped, self._looking = "", None
                self.found(files)
                self.turn(1)
            case Outcome(order=Upload(), value=ImportedNow() as result):
                self.result = result
                self.host.forget_import(self.key_name)
        self.show()

    def found(self, files: ImportFiles) -> None:
        if self.result is not None:
            return  # it is imported: what became of the folder since does not matter
        self.files = files
        if files.parameters is not None and files.parameters.key_name != self.key_name:
            why = f"the folder holds parameters for key {files.parameters.key_name}; choose another folder"
            self.files = ImportFiles(files.directory, wrapped=files.wrapped, wrong=why)
        field = self.query_one("#wrapped", Input)
        if not field.has_focus and field.value != self.files.wrapped:
            with self.prevent(Input.Changed):
                field.value = self.files.wrapped
        if not self.usable():
            self.draft.step = 0
        elif not self.draft.looked:
            self.turn(1 if self.files.wrapped_octets is None else 2)
        elif self.draft.step == 2 and field.has_focus and not self.draft.wrapped and not self.unfit():
            self.set_focus(self.query_one("#next"))  # it came while nobody was typing
        self.draft.looked = True

    def usable(self) -> bool:
        """Whether there are parameters that can still be used."""
        parameters = self.files.parameters
        return parameters is not None and parameters.valid_to > self.host.now()

    def on_mount(self) -> None:
        for each in self.query(Button):
            each.active_effect_duration = 0  # while it lasts, enter is ignored: the next step's button is this one
        self.set_focus(self.query_one("#expiry", RadioSet))
        self.show()
        self.focus_body()

    def tick(self) -> None:
        super().tick()
        if self.draft.step in (0, 1, 4):
            self.show()
        elif self.draft.step == 2 and self._looking is None and self.unfit():
            self.look()  # wrapping goes on elsewhere: its file shows up by itself

    # ---- going through it ------------------------------------------------------------------------------------------

    def turn(self, step: int) -> None:
        self.draft.step = max(0, min(step, len(STEPS) - 1))
        self.wrong = ""
        if self.draft.step == 2:
            self.look()  # wrapping was done elsewhere meanwhile
        self.show()
        targets = {2: "#wrapped" if self.unfit() else "#next", 3: "#expiry"}
        self.set_focus(self.query_one(targets.get(self.draft.step, "#next")))

    def key_down(self) -> None:
        self._scroll(1)

    def key_up(self) -> None:
        self._scroll(-1)

    def key_pagedown(self) -> None:
        self._scroll(10)

    def key_pageup(self) -> None:
        self._scroll(-10)

    def _scroll(self, lines: int) -> None:
        """While the focus is on a button, arrows read the text of the step."""
        self.query_one(f"#step-{self.draft.step}", VerticalScroll).scroll_relative(y=lines, animate=False)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "back":
            self.turn(self.draft.step - 1)
        elif not self.busy:
            self.go_on()

    def go_on(self) -> None:
        """Continue from this step, or say what is missing."""
        if self._looking is not None:
            self._going_on_from = self.draft.step
            return
        self.wrong = self.missing()
        if self.wrong:
            self.show()
            return
        match self.draft.step:
            case 0 if not self.usable():
                spec, algorithm = self.query_one("#spec", Select).value, self.query_one("#algorithm", Select).value
                assert isinstance(spec, WrappingSpec)
                assert isinstance(algorithm, WrappingAlgorithm)
                self.busy = "asking for parameters…"
                self.order(GetParameters(self.key_name, spec, algorithm, self.draft.directory))
            case 4 if self.result is not None:
                self.host.do("back")
            case 4:
                days = int(self.draft.days) if self.draft.expiry == 1 else None
                self.busy = "uploading…"
                self.order(
                    Upload(self.key_name, self.draft.directory, self.files.wrapped, valid_days=days, new=self.draft.new)
                )
            case step:
                self.turn(step + 1)
        self.show()

    def missing(self) -> str:
        """Why this step cannot be left forward; empty if it can."""
        if self.host.read_only:
            return "this program is read-only: start it without --read-only to import"
        match self.draft.step:
            case 0 if self.files.wrong:
                return self.files.wrong
            case 2:
                return self.unfit()
            case 4 if self.result is None:
                return self.unfit()
            case 3 if self.draft.expiry == 1:
                days = self.draft.days
                return "" if days.isdigit() and 1 <= int(days) <= MAX_DAYS else f"days are 1 to {MAX_DAYS}"
        return ""

    def unfit(self) -> str:
        """Why the file cannot be wrapped material; empty if it can."""
        octets, parameters = self.files.wrapped_octets, self.files.parameters
        if octets is None:
            return f"there is no file {self.files.wrapped} yet"
        if parameters is None:
            return "there are no parameters yet"
        least = RSA_OCTETS[parameters.wrapping_key_spec]
        oaep = parameters.wrapping_algorithm.startswith("RSAES_OAEP")
        if oaep and octets != least:
            return f"{octets:,} octets cannot be right: {parameters.wrapping_algorithm} makes exactly {least}"
        if not oaep and (octets < least + 24 or octets % 8):
            return f"{octets:,} octets cannot be right: {parameters.wrapping_algorithm} makes {least + 24} or more"
        return ""

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        value = event.value.strip()
        match event.input.id:
            case "directory" if value != self.draft.directory:
                self.draft.directory, self.draft.wrapped = value, ""
                self.files = ImportFiles(value)
                self.look()
            case "wrapped" if value != self.draft.wrapped:
                self.draft.wrapped = value
                self.look()
            case "days":
                self.draft.days = value
                if value:
                    self.draft.expiry = 1
                    self.query_one("#expiry", RadioSet).query(Choice).last().value = True

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.set_focus(self.query_one("#next"))

    def on_radio_set_changed(self, event: RadioSet.Changed) -> None:
        event.stop()
        if event.radio_set.id == "expiry":
            self.draft.expiry = event.index
            if event.index == 1:
                self.set_focus(self.query_one("#days"))
        else:
            self.draft.new = event.index == 1

    def do_events(self) -> None:
        self.host.open(Kind.KEY, self.key_name, "events")

    # ---- what it says ----------------------------------------------------------------------------------------------

    def show(self) -> None:
        """Everything as it is now."""
        if not self.is_mounted:
            return
        step = self.draft.step
        self.query_one("#switcher", ContentSwitcher).current = f"step-{step}"
        self.query_one("#step-bar", Label).update(self.bar())
        said = {0: self.parameters, 1: self.wrapping, 2: self.upload, 3: self.expiry, 4: self.review}[step]
        self.query_one(f"#said-{step}", Lines).show(said())
        for each in ("#spec", "#spec-label", "#algorithm", "#algorithm-label"):
            self.query_one(each).display = not self.usable()
        self.query_one("#as-declared", Choice).label = f"as the key declares: {self.declared()}"
        kinds = self.report is not None and self.report.key_state is KeyState.ENABLED
        for each in ("#kind", "#kind-label"):
            self.query_one(each).display = kinds
        wrong = self.query_one("#wizard-wrong", Label)
        wrong.update(f"! {self.wrong}")
        wrong.display = bool(self.wrong)
        self.query_one("#back", Button).disabled = step == 0 or self.result is not None
        button = self.query_one("#next", Button)
        button.label = self.next_label()
        self.update_frame()

    def next_label(self) -> str:
        if self.busy:
            return self.busy
        if self.draft.step == 0:
            return "Continue" if self.usable() else "Get parameters"
        if self.draft.step == 4:
            return "Done" if self.result is not None else "Import"
        return "Continue"

    def bar(self) -> str:
        parts = []
        for number, title in enumerate(STEPS):
            done = number < self.draft.step or self.result is not None
            mark = "✓" if done else "●" if number == self.draft.step else "○"
            parts.append(f"{number + 1} {title} {mark}")
        return "   ".join(parts)

    def parameters(self) -> list[Line]:
        state = "" if self.report is None else f" It is {self.report.key_state} now."
        lines = [Line(f"Import material into key {self.key_name}.{state}", Style.HEADING), NEVER_READS, Line("")]
        if self.usable():
            lines += [
                *self.about_parameters(),
                Line(
                    f"They are in {self.files.directory}. Continue with them, or name a new folder below.", Style.MUTED
                ),
            ]
        elif self.files.parameters is not None:
            when = moment(self.files.parameters.valid_to)
            lines.append(
                Line(f"! The parameters in {self.files.directory} expired at {when}; name a new folder.", Style.WARNING)
            )
        elif self.files.wrong:
            lines.append(Line(f"! {self.files.wrong}", Style.WARNING))
        else:
            lines.append(Line("The server makes a wrapping key and an import token for this key, valid for 24 hours."))
        return lines

    def about_parameters(self) -> list[Line]:
        """Wrapping key, fingerprint, time left."""
        parameters = self.files.parameters
        if parameters is None:
            return []
        now = self.host.now()
        left = (parameters.valid_to - now).total_seconds()
        bar = f"{time_left(parameters.valid_to, now)}  {words.countdown(left / VALID_SECONDS, 16)}"
        return [
            Line(f"Wrapping key  {parameters.wrapping_key_spec}, {parameters.wrapping_algorithm}"),
            Line(f"Fingerprint   SHA-256 {self.files.fingerprint}", Style.MUTED),
            Line(f"Valid for     {bar}", Style.GOOD if left > HOUR_SECONDS else Style.BAD),
        ]

    def wrapping(self) -> list[Line]:
        parameters, folder = self.files.parameters, self.files.directory
        if parameters is None:
            return [Line("There are no parameters yet.", Style.WARNING)]
        wrap = f"keystead import-material wrap --parameters {folder} --in key.bin --out {folder}/wrapped.bin"
        return [
            *self.about_parameters(),
            Line(""),
            Line("Wrap the material where it is kept, not here. With keystead, on any machine, without a network:"),
            Line(f"  {wrap}", Style.CREATE),
            Line(""),
            *openssl_lines(parameters.wrapping_algorithm, folder, parameters.key_spec),
            Line(""),
            NEVER_READS,
        ]

    def upload(self) -> list[Line]:
        octets = self.files.wrapped_octets
        unfit = self.unfit()
        if octets is None:
            said = Line(f"… {unfit}. It comes out of step 2.", Style.UPDATE)
        elif unfit:
            said = Line(f"! {unfit}", Style.WARNING)
        else:
            said = Line(f"✓ {octets:,} octets: the length is right", Style.GOOD)
        return [Line("Choose the file that came out of wrapping.", Style.HEADING), said, NEVER_READS]

    def declared(self) -> str:
        """What the key declares about expiry."""
        days = self.key.spec.expiry.valid_days if self.key is not None else None
        return "it does not expire" if days is None else f"after {days} days"

    def expiry(self) -> list[Line]:
        return [
            Line("How long may this material live here?", Style.HEADING),
            Line("When it expires, the key waits; importing the same material again makes it usable.", Style.MUTED),
        ]

    def review(self) -> list[Line]:
        now = self.host.now()
        if self.result is not None:
            return self.done(self.result, now)
        chosen = f"after {self.draft.days} days"
        expires = f"as the key declares: {self.declared()}" if self.draft.expiry == 0 else chosen
        kind = "new, for the next rotation" if self.draft.new else "the key's material"
        return [
            Line("Nothing was uploaded yet. Import uploads this:", Style.HEADING),
            Line(f"  Key       {self.key_name}"),
            Line(f"  File      {self.files.wrapped}, {self.files.wrapped_octets or 0:,} octets, wrapped"),
            Line(f"  Expires   {expires}"),
            Line(f"  It is     {kind}"),
            Line(""),
            *self.about_parameters(),
        ]

    def done(self, result: ImportedNow, now: datetime) -> list[Line]:
        word, style = words.STATES[result.key_state]
        until = "does not expire" if result.valid_to is None else f"expires at {moment(result.valid_to)}"
        lines = [
            Line(f"✓ Imported into {self.key_name}. The key is {word}.", style),
            Line(f"  Material {result.key_material_id}", Style.MUTED),
            Line(f"  It {until}."),
            Line("  The folder is not needed any more. Your material in clear is where you kept it.", Style.MUTED),
            Line(""),
        ]
        return [*lines, *(import_lines(self.report, now) if self.report is not None else ())]


def openssl_lines(algorithm: WrappingAlgorithm, folder: str, key_spec: KeySpec) -> list[Line]:
    """The same with nothing but OpenSSL 1.1.1 or later."""
    digest = "sha256" if algorithm.endswith("SHA_256") else "sha1"
    oaep = f"-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:{digest} -pkeyopt rsa_mgf1_md:{digest}"
    encrypt = f"openssl pkeyutl -encrypt -pubin -keyform DER -inkey {folder}/wrapping-key.der"
    if algorithm.startswith("RSAES_OAEP"):
        commands = [f"{encrypt} {oaep} -in key.bin -out {folder}/wrapped.bin"]
    else:
        commands = [
            "openssl rand -out aes.bin 32",
            "openssl enc -id-aes256-wrap-pad -iv A65959A6 -K \"$(od -An -v -tx1 aes.bin | tr -d ' \\n')\" "
            "-in key.bin -out key.wrapped",
            f"{encrypt} {oaep} -in aes.bin -out aes.wrapped",
            f"cat aes.wrapped key.wrapped > {folder}/wrapped.bin",
        ]
    what = "32 random octets" if key_spec is KeySpec.SYMMETRIC_DEFAULT else "for a private key, PKCS#8 in DER"
    lines = [Line(f"With OpenSSL alone (key.bin: {what}):")]
    lines += [Line(f"  {command}", Style.CREATE) for command in commands]
    return lines
