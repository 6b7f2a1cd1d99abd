"""One inference path: the bundle on disk, the runtime that runs it, the predictor that everyone calls."""
