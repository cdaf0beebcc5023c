"""What should make a reader of a trial hesitate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from physadv.evaluate.doubt_codes import Doubt
from physadv.evaluate.doubts import MISSING, of_frames, of_order
from physadv.evaluate.metrics import FEW
from physadv.evaluate.pairs import EXPOSURE
from physadv.files import sha256_of
from physadv.recording import Paths
from physadv.trial.book import BY_HAND, SPOILT, TrialBook, WholeBlock
from physadv.trial.plan import ARMS, WORN
from physadv.trial.scores import answers_in, person_in
from physadv.trial.sources import LOCKED
from physadv.trial.state import TrialState

PROXIES = {
    "digital": "a proxy: the prints were put on by software, in the image; nothing was printed, worn and filmed",
    "screen": "a proxy: what was filmed was shown on a screen, which has other colours, light and sharpness than a print",
}


def of_trial(book: TrialBook, blocks: Sequence[WholeBlock]) -> list[Doubt]:
    """Return the doubts about a whole trial. blocks: all that are whole."""
    state = book.state
    # What a film shows was filmed for something else.
    words = "" if state.live else "; distance, turn and light are the plan's words, to which nobody stood"
    out = [Doubt("proxy", PROXIES[state.proxy] + words)] if state.proxy else []
    out.append(Doubt("few-people", "one person: nobody else is spoken of"))
    if not book.plan.drawn():
        text = "the plan's orders are not those that its seed draws: somebody chose them, not at random"
        out.append(Doubt("order-not-random", text))
    out += of_order([list(block.windows) for block in blocks])
    out += _few(book, blocks)
    out += _unfinished(book, blocks)
    out += _no_chest(book, blocks)
    out += _done_again(state)
    changed = [line for block in blocks for line in exposure_changed(block)]
    if changed:
        more = f", and {len(changed) - 2} more" if len(changed) > 2 else ""
        text = f"the exposure or white balance changed between arms: {'; '.join(changed[:2])}{more}"
        out.append(Doubt("exposure-changed", text))
    if state.live and LOCKED not in state.locks.values():
        text = "exposure and white balance were not locked: they are compared between arms, not kept"
        out.append(Doubt("exposure-not-locked", text))
    scores = [score for block in blocks for score in block.scores.values()]
    frames = sum(score.frames for score in scores)
    out += of_frames(frames, sum(score.lost for score in scores))
    repeated = sum(window.repeated for block in blocks for window in block.windows.values())
    if repeated > MISSING * frames:
        out.append(Doubt("frames-repeated", f"{repeated} of {frames} frames have the very pixels of the one before"))
    return out + ([] if state.live else _alike(book, blocks))


def exposure_changed(block: WholeBlock) -> list[str]:
    """Return a line for each arm whose window is lit or coloured differently than the one with nothing on.

    By the medians over the image's rim, where no print is: light by their sum, white balance by red and blue beside green.
    """
    out = []
    plain = block.windows["none"].light
    for arm in ARMS[1:]:
        light = block.windows[arm].light
        name = f"cell {block.cell + 1}, block {block.block + 1}, {arm}"
        if _apart(sum(light), sum(plain)):
            out.append(f"{name}: {(sum(light) + 3) / (sum(plain) + 3):.2f} times as bright as with nothing on")
        elif any(_apart(light[i] / (light[1] + 1), plain[i] / (plain[1] + 1), floor=0.01) for i in (0, 2)):
            out.append(f"{name}: another white balance than with nothing on")
    return out


def _apart(one: float, other: float, *, floor: float = 3.0) -> bool:
    # A black image's medians are 0: the floor keeps their ratio from being anything.
    return abs(math.log((one + floor) / (other + floor))) > math.log1p(EXPOSURE)


def _alike(book: TrialBook, blocks: Sequence[WholeBlock]) -> list[Doubt]:
    """Return doubts about a film that is shorter than the trial, or stands still: blocks of it are copies."""
    paths = (Paths.of(book.path(block.windows["none"].file)).clean for block in blocks)
    videos = [sha256_of(path) for path in paths if path.is_file()]
    different = len(set(videos))
    if different >= len(videos):
        return []
    what = "one and the same stretch" if different == 1 else f"{different} different stretches"
    return [Doubt("blocks-alike", f"{len(videos)} blocks show {what} of film: the others are copies")]


def _no_chest(book: TrialBook, blocks: Sequence[WholeBlock]) -> list[Doubt]:
    people = [person_in(answers_in(book.path(b.windows["none"].file)), book.state.conf) for b in blocks]
    count = sum(person is not None and not person.path.shows_chest for person in people)
    text = f"in {count} of {len(blocks)} blocks the person shows no chest in most frames: a print there is not in the image"
    return [Doubt("no-chest", text)] if count else []


def _few(book: TrialBook, blocks: Sequence[WholeBlock]) -> list[Doubt]:
    if len(blocks) < FEW:
        what = "block" if len(blocks) == 1 else "blocks"
        text = f"only {len(blocks)} {what}: intervals take a block as one case, and are wide"
        return [Doubt("few-blocks", text)]
    few = sum(count < FEW for count in Counter(block.cell for block in blocks).values())
    text = f"{few} of {len(book.plan.cells)} cells have fewer than {FEW} blocks: their intervals are wide"
    return [Doubt("few-blocks", text)] if few else []


def _unfinished(book: TrialBook, blocks: Sequence[WholeBlock]) -> list[Doubt]:
    plan = book.plan
    short = [
        cell
        for cell in range(len(plan.cells))
        if sum(b.cell == cell for b in blocks) < plan.blocks and not book.decided(cell)
    ]
    if not short:
        return []
    why = f" ({book.state.ended})" if book.state.ended else ""
    text = (
        f"{len(short)} of {len(plan.cells)} cells are neither decided nor whole{why}: its end was not left to the plan"
    )
    return [Doubt("trial-unfinished", text)]


def _done_again(state: TrialState) -> list[Doubt]:
    out = []
    spoilt = {(w.cell, w.block, w.attempt) for w in state.windows if w.redone.startswith(SPOILT)}
    if spoilt:
        what = "1 block was" if len(spoilt) == 1 else f"{len(spoilt)} blocks were"
        out.append(Doubt("blocks-done-again", f"{what} done again, as the person was not found with nothing on"))
    by_hand = Counter(w.arm for w in state.windows if w.redone == BY_HAND)
    if by_hand:
        some = ", ".join(f"{n} of {WORN[arm]}" for arm, n in by_hand.items())
        text = f"windows were done again by hand ({some}): somebody may have chosen"
        out.append(Doubt("windows-done-again", text))
    return out
