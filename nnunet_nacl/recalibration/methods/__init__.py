"""The methods of recalibration, one file each, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nnunet_nacl.recalibration.methods.base import Method
from nnunet_nacl.recalibration.methods.by_prediction import ByPrediction
from nnunet_nacl.recalibration.methods.margins import MarginScaling
from nnunet_nacl.recalibration.methods.per_class import PerClass
from nnunet_nacl.recalibration.methods.temperature import Temperature

_ALL: tuple[Method, ...] = (ByPrediction(), Temperature(), MarginScaling(), PerClass())

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in _ALL})
