"""Compares an answer with its truth, by the kind of answer.

Used outside the system only: the truth is never part of a task that is sent.
"""

import re
from datetime import date
from decimal import Decimal, InvalidOperation

MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}


def numbers(text: str) -> list[Decimal]:
    """All numbers of a text in order; thousands may be grouped by commas, as in 1,234.50."""
    found = re.findall(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\d*\.?\d+", text)
    result = []
    for number in found:
        try:
            result.append(Decimal(number.replace(",", "")))
        except InvalidOperation:
            continue
    return result


def single_number(text: str) -> Decimal | None:
    """The number that an answer consists of; None where there is no or more than one."""
    found = numbers(text)
    return found[0] if len(found) == 1 else None


def parse_date(text: str) -> date | None:
    """Reads a date as receipts print it: year first, or the day before the month."""
    parts = re.findall(r"\d+|[a-z]+", text.lower())
    parts = [part for part in parts if part.isdigit() or part[:3] in MONTHS]
    if len(parts) == 1 and len(parts[0]) == 8:
        digits = parts[0]
        parts = (
            [digits[:4], digits[4:6], digits[6:]]
            if digits[:2] in ("19", "20")
            else [digits[:2], digits[2:4], digits[4:]]
        )
    if len(parts) < 3:
        return None
    parts = parts[:3]
    named = [index for index, part in enumerate(parts) if not part.isdigit()]
    values = [int(part) if part.isdigit() else MONTHS[part[:3]] for part in parts]
    if named == [0]:
        month, day, year = values
    elif len(parts[0]) == 4:
        year, month, day = values
    else:
        day, month, year = values
    if year < 100:
        year += 2000
    try:
        return date(year, month, day)
    except ValueError:
        return None


def letters_and_digits(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def is_right(answer_kind: str, answer: str | None, truth: str) -> bool:
    """Whether `answer` is the `truth`. Kinds are spelled with either `-` or `_`."""
    if answer is None or not answer.strip():
        return False
    match answer_kind.replace("-", "_"):
        case "integer" | "number":
            given = single_number(answer)
            return given is not None and given == single_number(truth)
        case "yes_no":
            words = re.findall(r"[a-z]+", answer.lower())
            return words[:1] == [truth.strip().lower()]
        case "date":
            given = parse_date(answer)
            return given is not None and given == parse_date(truth)
        case _ if re.fullmatch(r"\d+,\d+", truth):
            return [int(n) for n in re.findall(r"\d+", answer)] == [
                int(n) for n in re.findall(r"\d+", truth)
            ]
        case _:
            return letters_and_digits(answer) == letters_and_digits(truth)
