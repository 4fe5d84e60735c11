# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The command line's grammar, as runc's: --name VALUE or --name=VALUE, one dash or two, before and after operands.

argparse would be the library for it, and costs a start of labrun 5 ms, a fifth of its time.
"""

from __future__ import annotations

from ..linux.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_STOPPING = ("labrun", "exec", "ps")  # a command's words, a program's, and those of ps(1)


class Command:
    """A command: its operands as shown in its usage, and its options with their help; 'WORD  text' takes a value."""

    def __init__(self, name: str, operands: str, summary: str, options: dict[str, str], short: dict[str, str]) -> None:
        self.name = name
        self.operands = operands
        self.summary = summary
        self.options = options
        self.short = short

    def takes_value(self, option: str) -> bool:
        return "  " in self.options.get(option, "")

    def may_repeat(self, option: str) -> bool:
        return self.options[option].partition("  ")[0].endswith("...")

    def help(self) -> str:
        """Laid out as runc's, which people and scripts know."""
        name, operands = ("labrun", "COMMAND") if self.name == "labrun" else ("labrun " + self.name, self.operands)
        usage = ("%s [options] %s" % (name, operands)).rstrip()
        lines = ["NAME:", "   %s - %s" % (name, self.summary), "", "USAGE:", "   " + usage, "", "OPTIONS:"]
        shorts = {long: short for short, long in self.short.items()}
        for option, text in self.options.items():
            word, _gap, meaning = text.partition("  ") if self.takes_value(option) else ("", "", text)
            word = word.replace("...", "")
            names = ", ".join([shorts[option], option] if option in shorts else [option])
            lines.append("  %-28s %s" % ((names + " " + word).rstrip(), meaning))
        lines.append("  %-28s %s" % ("-h, --help", "show this help"))
        return "\n".join(lines)

    def positional(self, words: list[str]) -> list[str]:
        """words when their number fits the operands. Raises InvalidInput."""
        shown = self.operands.split()
        required = [word for word in shown if not word.startswith("[")]
        if self.name == "exec":  # --process stands for the command
            required = required[:1]
        elif not self.operands.endswith("...]") and len(words) > len(shown):
            raise InvalidInput("%s: too many arguments, from %r on" % (self.name, words[len(shown)]))
        if len(words) < len(required):
            raise InvalidInput(
                "%s: %s is missing; usage: labrun %s %s" % (self.name, required[len(words)], self.name, self.operands)
            )
        return words


class Parsed:
    """A command line taken apart: the command's options, its operands, and the root of states."""

    def __init__(self, options: dict[str, Any], words: list[str], root: str) -> None:
        self.options = options
        self.words = words
        self.root = root
        self.root_is_given = False
        self.systemd_cgroup = False
        self.rootless: bool | None = None

    def number(self, option: str, default: str) -> int:
        """An option's value as a natural number. Raises InvalidInput."""
        text = str(self.options.get(option, default) or "0")
        if not (text.isascii() and text.isdigit()):
            raise InvalidInput("%s %r: a number is expected" % (option, text))
        return int(text)


def parse(command: Command, arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """(options, the other words). An option that may be repeated has a list. Raises InvalidInput.

    Behind the first operand of _STOPPING all words are somebody else's.
    """
    options: dict[str, Any] = {}
    rest = list(arguments)
    words: list[str] = []
    while rest:
        word = rest.pop(0)
        if word == "--":
            break
        if word == "-" or not word.startswith("-"):
            words.append(word)
            if command.name in _STOPPING:
                break
            continue
        name, equals, value = word.partition("=")
        name = _long_name(command, name)
        if command.takes_value(name):
            if not equals:
                if not rest:
                    raise InvalidInput("%s: option %s needs a value" % (command.name, name))
                value = rest.pop(0)
            if command.may_repeat(name):
                options.setdefault(name, []).append(value)
            else:
                options[name] = value
        elif name == "--no-new-privs" or value not in ("false", "0"):
            options[name] = value not in ("false", "0")
    return options, words + rest


def _long_name(command: Command, name: str) -> str:
    if name in command.short:
        name = command.short[name]
    elif name == "-h":
        name = "--help"
    elif not name.startswith("--"):
        name = "-" + name
    if name in command.options or name == "--help" or (name == "--version" and command.name == "labrun"):
        return name
    raise InvalidInput(
        "%s: unknown option %s; 'labrun %s--help' lists them"
        % (command.name, name, "" if command.name == "labrun" else command.name + " ")
    )
