"""Chess positions in FEN, read by python-chess (extra `formal`)."""

from onevision_jax.formal.errors import FormalError
from onevision_jax.formal.extra import need

MAX_LETTERS = 120


def parse_fen(text: str) -> tuple[str, ...]:
    """(64 squares, side, castling, en passant); raises FormalError for an impossible position."""
    chess = need("chess", "reading FEN")
    text = text.strip()
    if len(text) > MAX_LETTERS or len(text.splitlines()) != 1:
        raise FormalError(f"expected one line of FEN of up to {MAX_LETTERS} letters")
    try:
        board = chess.Board(text)
    except ValueError as error:
        raise FormalError(str(error)) from None
    status = board.status()
    if status != chess.STATUS_VALID:
        flags = [flag.name.lower().replace("_", " ") for flag in chess.Status if flag & status]
        raise FormalError(f"an impossible position: {', '.join(flags)}")
    squares = "".join(
        piece.symbol() if (piece := board.piece_at(square)) else "." for square in chess.SQUARES
    )
    return squares, *board.fen().split()[1:4]


def write_fen(position: tuple[str, ...]) -> str:
    """The four fields, clocks at their start."""
    squares, *fields = position
    ranks = []
    for rank in range(7, -1, -1):
        row = squares[8 * rank : 8 * rank + 8]
        for count in range(8, 0, -1):
            row = row.replace("." * count, str(count))
        ranks.append(row)
    return " ".join(["/".join(ranks), *fields, "0", "1"])


def compare_fen(a: tuple[str, ...], b: tuple[str, ...]) -> float:
    """F1 over the squares with a piece and the three fields."""
    pieces = [{(n, piece) for n, piece in enumerate(x[0]) if piece != "."} for x in (a, b)]
    fields = sum(x == y for x, y in zip(a[1:], b[1:], strict=True))
    matched = len(pieces[0] & pieces[1]) + fields
    return 2 * matched / (len(pieces[0]) + len(pieces[1]) + 2 * len(a[1:]))
