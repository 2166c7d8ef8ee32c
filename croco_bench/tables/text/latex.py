r"""Sheets as LaTeX tables that fit the text of LaTeX's class article. The document needs \usepackage{booktabs}, nothing else."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from itertools import groupby

from croco_bench.display import printable
from croco_bench.tables.text.sheet import Entry, Line, Sheet, part_of, with_counts_told
from croco_bench.tables.text.widths import longest_piece, packed, wrapped

_SPECIAL = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}"}
_SPECIAL |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", '"': "''"}
# In the usual font encoding, LaTeX would print other letters for these.
_SPECIAL |= {"<": "$<$", ">": "$>$", "|": "$|$"}
_SPECIAL |= {
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "’": "'",
    "‘": "`",
    "“": "``",
    "”": "''",
    "\N{NO-BREAK SPACE}": "~",
}
_SPECIAL |= {"§": r"\S{}", "¶": r"\P{}"}
_SPECIAL |= {"ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}"}
_SPECIAL |= {"ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}"}
_MATHS = {"↑": "uparrow", "↓": "downarrow", "→": "rightarrow", "±": "pm", "†": "dagger", "×": "times", "·": "cdot"}
_MATHS |= {"≤": "leq", "≥": "geq", "≈": "approx", "≠": "neq", "∞": "infty", "°": "circ", "‡": "ddagger", "◇": "diamond"}
_RAISED = ("†", "‡", "°", "◇")
_GREEK = {
    unicodedata.lookup(f"GREEK {size} LETTER {name.upper()}"): name if size == "SMALL" else name.capitalize()
    for size, names in (
        (
            "SMALL",
            "alpha beta gamma delta epsilon zeta eta theta iota kappa mu nu xi pi rho sigma tau phi chi psi omega",
        ),
        ("CAPITAL", "gamma delta theta xi pi sigma phi psi omega"),
    )
    for name in names.split()
}
_ACCENTS = {0x300: "`", 0x301: "'", 0x302: "^", 0x303: "~", 0x304: "=", 0x306: "u", 0x307: ".", 0x308: '"'}
_ACCENTS |= {0x30A: "r", 0x30B: "H", 0x30C: "v", 0x327: "c"}
_STYLES = {None: "{}", "bold": r"\textbf{{{}}}", "underline": r"\underline{{{}}}", "italic": r"\textit{{{}}}"}

# Width of the text of the class article at 10 pt, in pt. Per size: the width of a digit, the same in a subscript, half of the
# space between columns.
_TEXT_WIDTH = 345.0
_NAME_WIDTH = 140.0
_SIZES = {"normalsize": (5.0, 4.0, 6.0), "small": (4.63, 3.67, 4.0), "footnotesize": (4.25, 3.67, 3.0)}
_BOLD = 1.15
_WIDE, _THIN = set("mwMW%±–—"), set("iljtfI.,;:!|'()[]- ")


def latex_text(text: str) -> str:
    """In one line, with everything escaped that LaTeX would take for a command, or lacks a letter for.

    Letters beyond Latin and Greek become their number, such as `(U+4E2D)`: pdfLaTeX would stop at them.
    """
    line = " ".join(text.split())
    # Two hyphens in a row would become a dash.
    return "".join(
        "{}-" if line[max(at - 1, 0) : at + 1] == "--" else _letter(letter) for at, letter in enumerate(line)
    )


def _letter(letter: str) -> str:
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if letter in _MATHS:
        return f"$^\\{_MATHS[letter]}$" if letter in _RAISED else f"$\\{_MATHS[letter]}$"
    if letter in _GREEK:
        return f"$\\{_GREEK[letter]}$"
    if letter == "−":
        return "$-$"
    if " " <= letter <= "~":
        return letter
    parts = unicodedata.normalize("NFD", letter)
    if len(parts) == 2 and parts[0].isascii() and ord(parts[1]) in _ACCENTS:
        return f"\\{_ACCENTS[ord(parts[1])]}{{{parts[0]}}}"
    return f"(U+{ord(letter):04X})"


def to_latex(sheets: Sequence[Sheet], left_out: Sequence[str]) -> str:
    r"""A `table` for each sheet, with its notes below, then comments that say what was left out."""
    comments = [f"% {' '.join(printable(text).split())}" for text in left_out]
    return "\n\n".join([r"% needs \usepackage{booktabs}", *map(_sheet, sheets), *comments])


def _sheet(sheet: Sheet) -> str:
    short, told = with_counts_told(sheet)
    size, blocks = _fitting(short)
    is_wide = _widths(short, size)[0] >= _NAME_WIDTH
    tabulars = "\n\\par\\medskip\n".join(_tabular(part_of(short, block), is_wide) for block in blocks)
    caption = ". ".join(latex_text(text[:1].upper() + text[1:]) for text in (sheet.title, told) if text)
    lines = [r"\begin{table}[tbp]", r"\centering", f"\\{size}", f"\\setlength{{\\tabcolsep}}{{{_SIZES[size][2]:g}pt}}"]
    lines += [f"\\caption{{{caption}.}}\\smallskip", tabulars]
    return "\n".join([*lines, *_notes(sheet.notes), r"\end{table}"])


def _notes(notes: Sequence[str]) -> list[str]:
    if not notes:
        return []
    lines = [latex_text(note).replace("/", "/\\allowbreak{}") + r"\par" for note in notes]
    return [r"\par\smallskip", r"\begin{minipage}{\linewidth}\footnotesize\raggedright", *lines, r"\end{minipage}"]


def _fitting(sheet: Sheet) -> tuple[str, list[list[int]]]:
    """The columns side by side, in the largest type that fits; if none does, in as few blocks below each other as need be."""
    keys = [head.above for head in sheet.heads]
    found = {}
    for size in _SIZES:
        name, widths = _widths(sheet, size)
        found[size] = packed([math.ceil(width) for width in widths], keys, int(_TEXT_WIDTH - name))
    fewest = min(map(len, found.values()))
    return next((size, blocks) for size, blocks in found.items() if len(blocks) == fewest)


def _widths(sheet: Sheet, size: str) -> tuple[float, list[float]]:
    """Of the names and of the columns with the space before them, in pt."""
    digit, small, half_gap = _SIZES[size]
    name = min(max(_em(text) for text in (sheet.corner, *(line.name for line in sheet.lines))) * digit, _NAME_WIDTH)
    columns = []
    for index in range(len(sheet.heads)):
        entries = [
            _em(entry.value + entry.sign) * (_BOLD if entry.style == "bold" else 1) * digit + _em(_below(entry)) * small
            for entry in sheet.column(index)
        ]
        head = max(_em(line) for line in _head(sheet, index)) * digit
        columns.append(max(head, *entries) + 2 * half_gap)
    return name, columns


def _em(text: str) -> float:
    """About how wide a text is, in widths of a digit."""
    return sum(
        1.6 if letter in _WIDE else 0.67 if letter in _THIN else 1.4 if letter.isupper() else 1.05 for letter in text
    )


def _head(sheet: Sheet, index: int) -> list[str]:
    """A column's own title in lines that aren't much wider than its numbers."""
    head = sheet.heads[index]
    entries = [len(entry.value) + len(_below(entry)) * 3 // 4 for entry in sheet.column(index)]
    width = max(9, longest_piece(head.above), longest_piece(head.below), *entries)
    return [
        *(wrapped(head.above, width) if head.above and not _is_shared(sheet, index) else []),
        *wrapped(head.below, width),
    ]


def _is_shared(sheet: Sheet, index: int) -> bool:
    """Whether a column has the first line of its title in common with a neighbour."""
    above = sheet.heads[index].above
    return bool(above) and above in [
        head.above for head in (*sheet.heads[max(index - 1, 0) : index], *sheet.heads[index + 1 : index + 2])
    ]


def _below(entry: Entry) -> str:
    """What stands in a subscript."""
    count = f" (n={entry.count})" if entry.count is not None else ""
    return printable(f"{f'±{entry.spread}' if entry.spread else ''}{count}{entry.interval}")


def _tabular(sheet: Sheet, has_long_names: bool) -> str:
    """One block of columns; long names have lines of their own width."""
    names, begin = (f"p{{{_NAME_WIDTH:g}pt}}", r"\raggedright ") if has_long_names else ("l", "")
    lines = [f"\\begin{{tabular}}{{@{{}}{names}{'r' * len(sheet.heads)}@{{}}}}", r"\toprule", *_heads(sheet)]
    for section in sheet.sections:
        lines += [r"\midrule", *(begin + _row(line) for line in section)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _row(line: Line) -> str:
    return " & ".join([latex_text(line.name), *map(_entry, line.entries)]) + r" \\"


def _entry(entry: Entry) -> str:
    below = _below(entry).replace("±", r"\pm ")
    small = f"$_{{{below}}}$" if below else ""
    return _STYLES[entry.style].format(latex_text(entry.value)) + latex_text(entry.sign) + small


def _heads(sheet: Sheet) -> list[str]:
    """Titles in lines, the last ones on one level; what neighbours share stands once above them."""
    own = [_head(sheet, index) for index in range(len(sheet.heads))]
    shared = [_is_shared(sheet, index) for index in range(len(sheet.heads))]
    level_of_shared = max(
        (len(lines) + 1 for lines, is_shared in zip(own, shared, strict=True) if is_shared), default=0
    )
    rows = []
    for level in range(max(level_of_shared, *map(len, own)), 0, -1):
        cells = [latex_text(lines[-level]) if level <= len(lines) else "" for lines in own]
        rules = ""
        if level == level_of_shared:
            cells, rules = _shared(sheet, cells, shared)
        rows.append(" & ".join([latex_text(sheet.corner) if level == 1 else "", *cells]) + r" \\" + rules)
    return rows


def _shared(sheet: Sheet, cells: Sequence[str], shared: Sequence[bool]) -> tuple[list[str], str]:
    """The cells with shared titles above their columns, and rules below these."""
    row, rules = list[str](), ""
    titles = [head.above if is_shared else "" for head, is_shared in zip(sheet.heads, shared, strict=True)]
    at = 0
    for title, group in groupby(titles):
        count = len(list(group))
        if title:
            row.append(f"\\multicolumn{{{count}}}{{c}}{{{latex_text(title)}}}")
            rules += f" \\cmidrule(lr){{{at + 2}-{at + count + 1}}}"
        else:
            row += cells[at : at + count]
        at += count
    return row, rules
