"""VLMEvalKit's prediction files: the benchmark's table without images, and a column `prediction`.

VLMEvalKit writes xlsx unless PRED_FORMAT says tsv or json, and reads all of them by their ending.
A cell of xlsx holds 32,767 characters and long answers are cut there; TSV, CSV and JSON know no
such limit. Its TSV is that of pandas: every cell in double quotes, line feeds inside them.
Source: vlmeval/smp/file.py, dump and load; vlmeval/inference.py, infer_data_job.
"""

import csv
import io
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.evaluation.interop.folder import Evaluation, finish_reason
from onevision_jax.evaluation.interop.rows import Answer, Imported, name_of, refuse, write_whole

CELL = 32_767  # characters that a cell of xlsx holds
MAX_FIELD = 1 << 30  # characters of one field
FAILED = "Failed to obtain answer"  # what stands for an answer that was never given
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SEPARATORS = {".tsv": "\t", ".csv": ","}
_LIMIT = threading.Lock()  # The csv module has one limit for all of a process.


def write(evaluation: Evaluation, path: Path) -> int:
    """TSV or CSV by the ending of `path`; returns how many had no response and were left out.

    VLMEvalKit asks again for what is left out. It reads cells such as `NA` or `007` as pandas
    does, which is not as text. Raises InputError for other endings, and for several samples of
    one question, for which the layout has no place.
    """
    if path.suffix not in SEPARATORS:
        raise InputError(f"{path} ends in neither .tsv nor .csv; name a file of such an ending")
    rows = evaluation.rows
    if len({row["id"] for row in rows}) < len(rows):
        raise InputError(
            f"{evaluation.folder} holds several samples of a question, which this layout has no "
            "place for; use --format lmms-eval"
        )
    answered = [row for row in rows if row["response"] is not None]
    table = [table_row(row, evaluation) for row in answered]
    columns = list(dict.fromkeys(name for row in table for name in row))
    columns = [*(name for name in columns if name != "prediction"), "prediction"]
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(
        stream,
        columns,
        restval="",
        delimiter=SEPARATORS[path.suffix],
        quoting=csv.QUOTE_ALL,
        lineterminator="\n",
    )
    writer.writeheader()
    writer.writerows(table)
    write_whole(path, stream.getvalue())
    return len(rows) - len(answered)


def table_row(row: Mapping[str, Any], evaluation: Evaluation) -> dict[str, str]:
    """index, question, options as A, B, ..., answer, category, the dimensions, prediction."""
    question = evaluation.questions.get(row["id"])
    cells = {"index": row["id"], "question": "" if question is None else question.question}
    if question is not None:
        cells |= dict(zip(LETTERS, question.choices, strict=False))
    cells["answer"] = row["gold"]
    if question is not None:
        for name, value in question.dimensions.items():
            text = value if isinstance(value, str) else ", ".join(value)
            cells.setdefault("category" if name == "subject" else name, text)
    # Our own: VLMEvalKit does not say which answers were cut off, and passes over the column.
    reason = finish_reason(row)
    return cells | ({"finish_reason": reason} if reason else {}) | {"prediction": row["response"]}


def read(path: Path) -> Imported:
    """index and prediction, with the `thinking` that SPLIT_THINK parts from it put back.

    Raises InputError for xlsx and for tables without these columns.
    """
    answers, cut, failed = [], 0, 0
    for where, row in read_table(path):
        for field in ("index", "prediction"):
            if field not in row:
                refuse(path, where, f"there is no column {field!r}; give a prediction file")
        text = text_cell(row["prediction"], path, where, "prediction")
        thinking = text_cell(row.get("thinking"), path, where, "thinking")
        if text.startswith(FAILED):
            failed += 1
            continue
        full = max(len(text), len(thinking)) == CELL
        cut += full
        answers.append(
            Answer(
                id=name_of(row["index"], path, where, "index"),
                response=f"<think>{thinking}</think>{text}" if thinking else text,
                finish_reason="length" if full or row.get("finish_reason") == "length" else None,
            )
        )
    notes = [f"{failed} rows say {FAILED!r} and were left out"] * bool(failed)
    notes += [f"{cut} answers are as long as a cell of xlsx: taken as cut off"] * bool(cut)
    return Imported(answers=answers, notes=notes)


def text_cell(value: Any, path: Path, where: str, field: str) -> str:
    """A cell as text; "" where it is empty, which JSON says as NaN."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        refuse(path, where, f"field {field!r} must be text")
    return str(value)


def read_table(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows with their place in the file; TSV, CSV and JSON by the ending."""
    if path.suffix in SEPARATORS:
        yield from read_separated(path, SEPARATORS[path.suffix])
    elif path.suffix == ".json":
        yield from read_json(path)
    else:
        raise InputError(
            f"{path} ends in none of .tsv, .csv, .json; run VLMEvalKit with PRED_FORMAT=tsv, or "
            "save the xlsx table as CSV"
        )


def read_separated(path: Path, separator: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows of a table whose first line names the columns."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error}); save it as UTF-8") from None
    # newline="": line ends within cells stay as they are.
    with _LIMIT:
        before = csv.field_size_limit(MAX_FIELD)
        try:
            lines = list(
                csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
            )
        except csv.Error as error:
            raise InputError(f"{path} is no such table ({error}); write it again") from None
        finally:
            csv.field_size_limit(before)
    lines = [line for line in lines if line]
    if not lines:
        raise InputError(f"{path} is empty; give a prediction file")
    header = lines[0]
    for number, line in enumerate(lines[1:], 1):
        if len(line) != len(header):
            refuse(path, f"row {number}", f"{len(line)} cells where the header has {len(header)}")
        yield f"row {number}", dict(zip(header, line, strict=True))


def read_json(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows of a JSON list of objects."""
    try:
        value = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}); write it again") from None
    rows: Sequence[Any] = value if isinstance(value, list) else []
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path} holds no list of objects; give a prediction file")
    for number, row in enumerate(rows, 1):
        yield f"row {number}", row
