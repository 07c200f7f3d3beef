"""The trackers, by the name that --track takes; their packages and our extras have the same names."""

from collections.abc import Mapping

from .mlflow_tracker import MLflow
from .tensorboard_tracker import TensorBoard
from .tracker import Opener
from .wandb_tracker import WandB

TRACKERS: Mapping[str, Opener] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}
