"""A car drawn from any side: profile extruded to its width, projected by a camera, painted back to front."""

from __future__ import annotations

from PIL import Image, ImageDraw

from carspotter.data.drawing.brush import TYRE, Camera, Paint, Painter, Patch, circle, half_width, hull, shade
from carspotter.data.drawing.flank import paint_flank
from carspotter.data.drawing.parts import paint_strip
from carspotter.data.drawing.shape import CarModel, Corner


def draw_car(picture: Image.Image, car: CarModel, camera: Camera, paint: Paint) -> Painter:
    """Paint a car with its shadow into an RGB picture.

    Args:
        picture: RGB, changed in place; twice the wanted size and shrunk later, edges come out smooth.
        car: which model.
        camera: from where.
        paint: of this one car.

    Returns:
        The painter, which knows where the lamps are.
    """
    painter = Painter(ImageDraw.Draw(picture, "RGBA"), camera)
    sign = 1.0 if camera.position[1] >= 0 else -1.0
    beside = abs(camera.position[1]) > car.width / 2
    _shadow(painter, car)
    for side in (-sign,) if beside else (-sign, sign):  # the body hides what it hides of them
        _mirror(painter, car, paint, side)
    for axle in sorted(car.axles, key=lambda x: x * camera.position[0]):
        for side in (-sign, sign):
            _tyre(painter, car, axle, side)
    for axle in sorted(car.axles, key=lambda x: x * camera.position[0]):
        _cross_section(painter, car, axle, paint)
    _strips(painter, car, paint)
    if beside:
        paint_flank(painter, car, paint, sign)
        _mirror(painter, car, paint, sign)
    return painter


def _shadow(painter: Painter, car: CarModel) -> None:
    front, rear = car.axles
    for grow, alpha in ((0.55, 40), (0.40, 60), (0.25, 110)):
        x0, x1, y = rear - grow, front + grow, car.width / 2 + grow - 0.25
        cut = 0.25
        outline = [(x0, y - cut), (x0 + cut, y), (x1 - cut, y), (x1, y - cut)]
        ground = [(x, y, 0.0) for x, y in outline] + [(x, -y, 0.0) for x, y in reversed(outline)]
        painter.face(ground, (10, 10, 16, alpha))


def _tyre(painter: Painter, car: CarModel, axle: float, side: float) -> None:
    outer = side * (half_width(car, axle, car.wheel) - 0.02)
    inner = outer - side * 0.20
    rims = [(axle + car.wheel * c, y, car.wheel * (1 + s)) for y in (inner, outer) for c, s in circle(16)]
    painter.draw.polygon(hull([painter.project(point) for point in rims]), fill=TYRE)


def _cross_section(painter: Painter, car: CarModel, x: float, paint: Paint) -> None:
    """What shows of the flanks beside a narrower nose or tail."""
    low, heights = car.wheel * 0.75, (0.0, 0.4, 0.85, 1.0)
    levels = [low + (car.belt - low) * share for share in heights]
    half = [(half_width(car, x * 0.5, z), z) for z in levels]
    painter.face([(x, h, z) for h, z in half] + [(x, -h, z) for h, z in reversed(half)], shade(paint.body, 0.72))


def _strips(painter: Painter, car: CarModel, paint: Paint) -> None:
    """The surfaces across the car that face the camera, the farthest first."""
    eye = painter.camera.position
    pairs = list(zip(car.profile, car.profile[1:], strict=False))

    def nearness(pair: tuple[Corner, Corner]) -> float:
        return (pair[0].x + pair[1].x) * eye[0] + (pair[0].z + pair[1].z) * eye[2] * 0.2

    for low, high in sorted(pairs, key=nearness):
        normal = (high.z - low.z, low.x - high.x)
        if normal[0] * (eye[0] - low.x) + normal[1] * (eye[2] - low.z) > 0:
            paint_strip(painter, Patch(car, low, high), high.role, paint)


def _mirror(painter: Painter, car: CarModel, paint: Paint, side: float) -> None:
    x = car.windows[0][0] - 0.12
    y, z = half_width(car, x, car.belt), car.belt + 0.02
    box = [(x + dx, side * (y + dy), z + dz) for dx in (0.0, 0.10) for dy in (0.02, 0.20) for dz in (0.0, 0.13)]
    colour = (44, 44, 48) if "dark_bumpers" in car.trims else shade(paint.body, 0.82)
    painter.draw.polygon(hull([painter.project(point) for point in box]), fill=colour)
