"""In which number format a CPU computes fastest, by a short measurement, and models put into it.

Only for models whose work is one pass over an utterance (Paraformer, and a SANM encoder with a CTC layer).
"""

import copy

import torch

from mooer.common.device import DTYPES
from mooer.common.errors import ConfigError
from mooer.common.log import get_logger
from mooer.decode.int8_linear import Int8Linear, has_int8, quantize_linears
from mooer.decode.packed_linear import least_seconds, pack_linears
from mooer.models.model_dir import LoadedModel
from mooer.models.sanm_encoder import SanmEncoder

log = get_logger(__name__)

# Beyond torch's own; both for a CPU.
INT8, FAST = "int8", "fast"
CPU_FORMATS = (INT8, FAST)
FORMATS = (*DTYPES, *CPU_FORMATS)
FAMILIES = ("paraformer", "ctc")
# Frames of an utterance of ten seconds.
TYPICAL_FRAMES = 167
# What a coarser format must gain over the one before it to be taken.
MIN_GAIN = 1.2


def put_into_format(loaded: LoadedModel, wanted: str, device: torch.device) -> str:
    """Change a float32 model that nobody else has to `int8`, or for `fast` to what is fastest here; the format that it is.

    Raises:
        ConfigError: the model or the device has no such format.
    """
    family, encoder = loaded.config.family, loaded.model.encoder
    if family not in FAMILIES or not isinstance(encoder, SanmEncoder):
        needed, found = " or ".join(FAMILIES), f"{family} with {type(encoder).__name__}"
        raise ConfigError(f"dtype {wanted} is for models of family {needed} with SanmEncoder, found {found}; use bfloat16")
    if device.type != "cpu":
        raise ConfigError(f"dtype {wanted} is for a CPU; use float16 or bfloat16 on {device.type}, or --device cpu")
    chosen = _fastest(encoder) if wanted == FAST else wanted
    if chosen == INT8:
        quantize_linears(loaded.model)
    else:
        pack_linears(loaded.model.to(getattr(torch, chosen)))
    return chosen


def _fastest(encoder: SanmEncoder) -> str:
    """The number format in which a layer of the encoder is fastest, or a more exact one if that gains little."""
    layer = encoder.encoders0[0].feed_forward.w_1
    layers = {"float32": layer, "bfloat16": copy.deepcopy(layer).bfloat16()}
    if has_int8():
        layers[INT8] = Int8Linear(layer)
    inputs = torch.randn(TYPICAL_FRAMES, layer.in_features, generator=torch.Generator().manual_seed(0))
    seconds, chosen = {}, "float32"
    for name, candidate in layers.items():
        seconds[name] = least_seconds(candidate, inputs.bfloat16() if name == "bfloat16" else inputs)
        if seconds[chosen] / seconds[name] >= MIN_GAIN:
            chosen = name
    speeds = ", ".join(f"{name} {seconds['float32'] / value:.1f}" for name, value in seconds.items())
    log.info("dtype %s is %s here; speed of a layer: %s", FAST, chosen, speeds)
    return chosen
