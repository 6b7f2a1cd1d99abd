"""`explain`: where in a photo the net saw its answer rather than another class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carspotter.apps import options
from carspotter.apps.console import note, notes, say
from carspotter.errors import PhotoRefused, SourceError

if TYPE_CHECKING:
    from carspotter.evaluation.explain import Floats
    from carspotter.inference.bundle import Bundle
    from carspotter.inference.explanation import Explanation
    from carspotter.inference.neighbours import Shown
    from carspotter.inference.predictor import Predictor
    from carspotter.records import Photo, Pixels

Asked = Annotated[Path, typer.Argument(metavar="PHOTO", help="The photo in question.", show_default=False)]
Picture = Annotated[Path, typer.Option("--output", "-o", help="The picture: .png, .jpg or .webp.", show_default=False)]
Against = Annotated[
    str | None, typer.Option(help="Compare with this class.  [default: the runner-up]", show_default=False)
]
Trained = Annotated[
    Path | None,
    typer.Option("--photos", metavar="SOURCE", help="The source that trained the model.", show_default=False),
]
Count = Annotated[int, typer.Option("--neighbours", min=1, max=8, help="Training photos of each class.")]


def explain(
    model: options.Model,
    photo: Asked,
    *,
    output: Picture,
    against: Against = None,
    photos: Trained = None,
    count: Count = 4,
    runtime: options.Runtime = "onnxruntime",
) -> None:
    """Draw why a photo is one model rather than another: where the net saw it, and like training photos.

    The verdict comes first, as `predict` gives it: a map also exists for photos of no model that was taught.
    Vermilion cells speak for the answer, blue ones for the runner-up. The map is exact for models with a linear head
    (all packaged recipes but `seed`); others need PyTorch. The check below it hides the hottest part and asks again.
    """
    from carspotter.apps.explain_picture import check_picture, draw_explanation
    from carspotter.data.disk import check_writable
    from carspotter.inference.explanation import explain as explain_photo
    from carspotter.inference.predictor import load
    from carspotter.records import Location, Photo

    check_picture(output)
    check_writable(output, reads=[photo])
    predictor = load(model, threads=1, runtime=runtime)
    trained = _trained(photos)
    asked = Photo(photo.name, Location(str(photo)))
    try:
        found = explain_photo(predictor, asked, reference=predictor.reference, against=against, gradients=_gradients)
    except PhotoRefused as refused:
        raise SourceError(f"{photo}: {refused.reason}: {refused.sentence}") from None
    rows, remark = _neighbours(predictor, found, photos, trained, count)
    draw_explanation(found, predictor.card.classes, rows, output, remark)
    _say(found, predictor.card.classes, rows)
    if remark:
        note(remark)
    say(f"picture  {output}")


def _gradients(bundle: Bundle, view: Pixels, answer: int, against: int) -> Floats:
    from carspotter.training.explain import gradient_map

    return gradient_map(bundle, view, answer, against)


def _trained(photos: Path | None) -> dict[str, Photo]:
    """The photos of the source that trained the model, by id."""
    from carspotter.data.source import read_source

    if photos is None:
        return {}
    dataset = read_source(photos)
    notes(dataset.notes)
    return {one.id: one for one in dataset.photos}


def _neighbours(
    predictor: Predictor, found: Explanation, photos: Path | None, trained: dict[str, Photo], count: int
) -> tuple[tuple[tuple[Shown, ...], ...], str]:
    """The nearest training photos of both classes, and a line that says what is missing."""
    from carspotter.inference.neighbours import find_neighbours

    if (reference := predictor.reference) is None:
        return (), "no like training photos: the model has no reference.safetensors; train again to have them"
    rows = tuple(
        find_neighbours(predictor, reference, trained, found.embedding, label, count)
        for label in (found.named, found.against)
    )
    if photos is None:
        return rows, "give --photos SOURCE, what the model was trained on, to see the nearest training photos"
    absent = sum(one.pixels is None for row in rows for one in row)
    if not absent:
        return rows, ""
    doubt = ", or it remembers them as another net saw them" if predictor.card.in_integers else ""
    return rows, f"{absent} of the nearest training photos are not in {photos} as they were{doubt}"


def _say(found: Explanation, classes: tuple[str, ...], rows: tuple[tuple[Shown, ...], ...]) -> None:
    from carspotter.apps.explain_picture import claim, compared, lead

    named, against = classes[found.named], classes[found.against]
    say(f"answer   {': '.join(filter(None, (claim(found.answer, named), found.answer.reason)))}")
    say(f"map      {compared(found, classes)}")
    say(f"lead     {lead(found)}")
    say(f"check    {found.hottest_hidden:.2f} with the hottest part hidden, {found.drawn_hidden:.2f} with a drawn one")
    for name, row in zip((named, against), rows, strict=False):
        say(f"nearest  {name}: {', '.join(f'{one.neighbour.id} {one.neighbour.distance:.2f}' for one in row)}")
