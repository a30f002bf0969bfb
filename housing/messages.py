"""What people are told after the gate: one message, written for Slack, for mail and for a log."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

from housing.engine.errors import fit_to_show

if TYPE_CHECKING:
    from housing.domain.verdict import Check, Verdict

LOG_LINES = 15
"""Lines that a message quotes of a failed task's log."""

_HEADER_LIMIT = 150  # characters of a Slack header block
_SECTION_LIMIT = 3000  # characters of a Slack section block
_BLOCKS_LIMIT = 50  # blocks of a Slack message
_CELL = 60  # characters of a cell in Slack, which breaks long lines of a table

Table = tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...]]
"""Heading, header, rows."""


@dataclass(frozen=True)
class Message:
    """A message before anybody decided how it travels.

    Attributes:
        title: One line that says what happened.
        good: Whether it is good news.
        facts: Name and value of what a reader asks first.
        tables: Tables of text.
        quotes: Heading and text of each quotation, the lines of a log for example.
        links: Label and address of where to look next; never an empty address.
    """

    title: str
    good: bool
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    quotes: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()

    def to_text(self) -> str:
        """The message as plain text, for a log and for Slack's notifications."""
        parts = [self.title]
        parts += [f"{name}: {value}" for name, value in self.facts]
        for heading, header, rows in self.tables:
            parts += ["", f"{heading}:", _aligned(header, rows)]
        for heading, quote in self.quotes:
            parts += ["", f"{heading}:", quote]
        if self.links:
            parts += ["", *(f"{label}: {address}" for label, address in self.links)]
        return "\n".join(parts)

    def to_slack(self) -> dict[str, Any]:
        """The body of a call of a Slack webhook: ``text`` and ``blocks`` within Slack's limits.

        Limits and escapes: https://docs.slack.dev/reference/block-kit/blocks and
        https://docs.slack.dev/messaging/formatting-message-text.
        """
        sign = "\N{WHITE HEAVY CHECK MARK}" if self.good else "\N{POLICE CARS REVOLVING LIGHT}"
        title = _cut(f"{sign} {self.title}", _HEADER_LIMIT)
        blocks: list[dict[str, Any]] = [
            {"type": "header", "text": {"type": "plain_text", "text": title}}
        ]
        if self.facts:
            blocks.append(
                _section("\n".join(f"*{_mrkdwn(n)}:* {_mrkdwn(v)}" for n, v in self.facts))
            )
        for heading, header, rows in self.tables:
            short = tuple(tuple(_cut(cell, _CELL) for cell in row) for row in rows)
            blocks.append(_preformatted(heading, _aligned(header, short)))
        blocks += [_preformatted(heading, quote) for heading, quote in self.quotes]
        blocks = blocks[: _BLOCKS_LIMIT - 1]
        if self.links:
            links = (f"<{_mrkdwn(address)}|{_mrkdwn(label)}>" for label, address in self.links)
            blocks.append(_section(" · ".join(links)))
        return {"text": _mrkdwn(title), "blocks": blocks}

    def to_html(self) -> str:
        """The message as the body of a mail."""
        parts = [f"<h2>{escape(self.title)}</h2>"]
        if self.facts:
            rows = "".join(
                f'<tr><th align="left">{escape(name)}</th><td>{escape(value)}</td></tr>'
                for name, value in self.facts
            )
            parts.append(f'<table cellpadding="4">{rows}</table>')
        for heading, header, body in self.tables:
            parts += [f"<h3>{escape(heading)}</h3>", _html_table(header, body)]
        for heading, quote in self.quotes:
            parts += [f"<h3>{escape(heading)}</h3>", f"<pre>{escape(quote)}</pre>"]
        links = (
            f'<a href="{escape(address)}">{escape(label)}</a>' for label, address in self.links
        )
        parts.append(f"<p>{' · '.join(links)}</p>")
        return "\n".join(parts)

    def to_markdown(self) -> str:
        """The body of the message for a page of Airflow; the title stands elsewhere there."""
        parts = [f"- {_markdown(name)}: {_markdown(value)}" for name, value in self.facts]
        for heading, header, rows in self.tables:
            lines = [tuple(map(_markdown, line)) for line in (header, *rows)]
            lines.insert(1, ("---",) * len(header))
            table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
            parts.append(f"\n**{_markdown(heading)}**\n\n{table}")
        if self.links:
            links = (f"[{_markdown(label)}](<{address}>)" for label, address in self.links)
            parts.append(f"\n{' · '.join(links)}")
        return "\n".join(parts)


def promotion(model: str, version: str, verdict: Verdict, links: Mapping[str, str]) -> Message:
    """Tells that a version went live.

    Args:
        model: Name of the registered model.
        version: The version that the verdict's alias points to now.
        verdict: Why the gate let it pass, with the metrics of both models.
        links: Address by label; an empty address is left out.
    """
    return Message(
        title=f"{model} version {version} is now {verdict.alias}",
        good=True,
        facts=_facts(verdict),
        tables=(
            _metrics_table(verdict.metrics, verdict.rival_metrics, verdict.against),
            _verdict_table(verdict.checks),
        ),
        links=_given(links),
    )


def contest(
    model: str,
    challenger: tuple[str, Mapping[str, float]],
    champion: tuple[str, Mapping[str, float]] | None,
    checks: Sequence[Check],
    overrides: Sequence[str] = (),
) -> Message:
    """Puts the version in staging and the champion side by side, for a person to decide.

    Args:
        model: Name of the registered model.
        challenger: Its version and its run's metrics; those of the test rows are shown.
        champion: The same of the version that serves production, or None.
        checks: The two compared on the same held-out rows.
        overrides: The parameter overrides that the challenger was made with.
    """
    against, before = champion or (None, {})
    tables = [_metrics_table(_test_metrics(challenger[1]), _test_metrics(before), against)]
    if checks:
        tables.append(_verdict_table(checks))
    return Message(
        title=f"Shall {model} version {challenger[0]} be champion?",
        good=True,
        facts=(
            ("challenger", f"version {challenger[0]}"),
            ("champion", f"version {against}" if against else "none"),
            *((("made with overrides", ", ".join(overrides)),) if overrides else ()),
        ),
        tables=tuple(tables),
    )


def question(
    contest: Message, answer: Sequence[tuple[str, str]], links: Mapping[str, str]
) -> Message:
    """Makes a question to a person of two versions side by side.

    Args:
        contest: What `contest` made.
        answer: Name and value of what to know before answering: the deadline, what follows.
        links: Address by label; an empty address is left out.
    """
    return replace(contest, facts=(*contest.facts, *answer), links=_given(links))


def rejection(model: str, verdict: Verdict, links: Mapping[str, str]) -> Message:
    """Tells that the gate kept a model back.

    Args:
        model: Name of the registered model.
        verdict: The gate's verdict with the failed checks.
        links: Address by label; an empty address is left out.
    """
    return Message(
        title=f"{model}: the gate rejected a model, nothing was promoted",
        good=False,
        facts=(("reasons", "; ".join(verdict.reasons)), *_facts(verdict)),
        tables=(_verdict_table(verdict.checks),),
        links=_given(links),
    )


def refusal(reasons: Mapping[str, str], links: Mapping[str, str]) -> Message:
    """Tells that files cannot be priced.

    Args:
        reasons: The reason of each file, by its name.
        links: Address by label; an empty address is left out.
    """
    many = len(reasons) > 1
    subject = f"{len(reasons):,} files were" if many else f"{next(iter(reasons))} was"
    return Message(
        title=f"{subject} set aside: no price",
        good=False,
        facts=(("next", "mend the file, or take it away: it is not tried again until it changes"),),
        quotes=tuple((name, last_lines(reason)) for name, reason in reasons.items()),
        links=_given(links),
    )


def failure(
    run: str, errors: Mapping[str, str], logs: Mapping[str, str], links: Mapping[str, str]
) -> Message:
    """Tells that tasks failed.

    Args:
        run: The run that they belong to.
        errors: The error of each failed task, by the task's name.
        logs: Its log, or the end of it, where it can be read.
        links: Address by label; an empty address is left out.
    """
    quotes: list[tuple[str, str]] = []
    for task, error in errors.items():
        quotes.append((task, last_lines(error)))
        if logs.get(task):
            quotes.append((f"{task}, last lines of its log", last_lines(logs[task])))
    return Message(
        title=f"{', '.join(errors)} failed",
        good=False,
        facts=(("run", run),),
        quotes=tuple(quotes),
        links=_given(links),
    )


def last_lines(text: str) -> str:
    """The end of a log: its last `LOG_LINES` lines, without the logins in its addresses."""
    return fit_to_show("\n".join(text.rstrip().splitlines()[-LOG_LINES:]))


def format_metric(name: str, value: float) -> str:
    """A metric as people read it: dollars, per cent, or a plain number.

    Args:
        name: ``rmse``, ``mae``, ``mape`` or ``r2_score``.
        value: Its value, in dollars or per cent where it has a unit.
    """
    if name in {"rmse", "mae"}:
        return f"-${-value:,.0f}" if value < 0 else f"${value:,.0f}"
    return f"{value:.2f} %" if name == "mape" else f"{value:.4f}"


def _facts(verdict: Verdict) -> tuple[tuple[str, str], ...]:
    return ("result", verdict.result), ("MLflow run", verdict.run_id)


def _test_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    shown = {name: f"test_{name}" for name in ("rmse", "mae", "r2_score", "mape")}
    return {name: metrics[key] for name, key in shown.items() if key in metrics}


def _metrics_table(
    metrics: Mapping[str, float], before: Mapping[str, float], against: str | None
) -> Table:
    """The metrics of both, not their difference: each version was tested on its own rows."""
    rows = tuple(
        (name, format_metric(name, new), format_metric(name, before[name]))
        if name in before
        else (name, format_metric(name, new), "none")
        for name, new in metrics.items()
    )
    header = ("metric", "new", f"version {against}" if before else "before")
    heading = "Metrics, each version on its own test rows" if before else "Metrics on the test rows"
    return heading, header, rows


def _verdict_table(checks: Sequence[Check]) -> Table:
    rows = tuple(
        ("passed" if check.passed else "FAILED", check.name, check.sentence) for check in checks
    )
    return "Verdict of the gate", ("", "check", "finding"), rows


def _given(links: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((label, fit_to_show(address)) for label, address in links.items() if address)


def _aligned(header: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    )
    return "\n".join(lines)


def _html_table(header: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> str:
    head = "".join(f'<th align="left">{escape(cell)}</th>' for cell in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f'<table cellpadding="4" border="1"><tr>{head}</tr>{body}</table>'


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _cut(text, _SECTION_LIMIT)}}


def _preformatted(heading: str, quote: str) -> dict[str, Any]:
    """A quotation keeps its end: that is where a log says what went wrong."""
    # A run of three backticks would end the quotation; a zero-width space keeps it together.
    safe = _mrkdwn(quote).replace("```", "``\N{ZERO WIDTH SPACE}`")
    room = _SECTION_LIMIT - len(heading) - len("**\n``````")
    return _section(f"*{_mrkdwn(heading)}*\n```{safe[-room:]}```")


def _markdown(text: str) -> str:
    """The text as it is: no link, no image, no HTML, no end of a table's cell or line."""
    return re.sub(r"[\\`*_\[\]<>|~&]", r"\\\g<0>", " ".join(text.split()))


def _mrkdwn(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}\N{HORIZONTAL ELLIPSIS}"
