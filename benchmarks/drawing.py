"""Milliseconds a drawn photo takes, beside Pillow's own JPEG encoding of the same photos.

    python benchmarks/drawing.py [--photos 100] [--height 240] [--width 320]

One core; the median of each photo's processor time, so that other work on the machine matters little.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from carspotter.data.drawing.models import CAR_MODELS
from carspotter.data.drawing.picture import draw_photo, encode
from carspotter.data.drawing.shot import draw_shot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--width", type=int, default=320)
    options = parser.parse_args()
    drawing, encoding = [], []
    for i in range(options.photos):
        shot = draw_shot(np.random.default_rng([0, i]))
        start = time.process_time()
        photo = draw_photo(CAR_MODELS[i % len(CAR_MODELS)], shot, options.height, options.width)
        drawn = time.process_time()
        encode(photo, shot.quality)
        encoding.append(time.process_time() - drawn)
        drawing.append(drawn - start)
    draw, jpeg = (1000 * statistics.median(times) for times in (drawing, encoding))
    print(f"{options.photos} photos of {options.width}x{options.height}, one core, median processor time")
    print(f"drawing      {draw:7.2f} ms a photo")
    print(f"JPEG encode  {jpeg:7.2f} ms a photo (Pillow)")
    print(f"ratio        {draw / jpeg:7.1f}")


if __name__ == "__main__":
    main()
