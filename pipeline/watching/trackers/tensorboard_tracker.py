"""A tracker for TensorBoard: event files in RUN/tensorboard, written without TensorFlow and torch."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .tracker import flat


class TensorBoard:
    """An event file for each start of the run, flushed at once, so that a kill loses nothing."""

    def __init__(self, run: Path, parameters: Mapping[str, Any], resume: bool) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(run / "tensorboard"))
        self._resumed = resume
        if not resume:
            self._add(0, _text("config", parameters))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        if self._resumed:
            self._hide_after(step)
            self._resumed = False
        self._add(step, *(Summary.Value(tag=n, simple_value=v) for n, v in values.items()))

    def picture(self, step: int, name: str, png: bytes) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        # Bytes 16 to 24 of a PNG file hold its width and height.
        width, height = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
        image = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=png)
        self._add(step, Summary.Value(tag=name, image=image))

    def close(self, finished: bool) -> None:
        self._writer.close()

    def _hide_after(self, step: int) -> None:
        """Hide the figures after a step: what a killed run logged after its checkpoint is logged again."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        start = SessionLog(status=SessionLog.START)
        self._writer.add_event(Event(wall_time=time.time(), step=step + 1, session_log=start))

    def _add(self, step: int, *values: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=values)
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
        self._writer.flush()


def _text(tag: str, parameters: Mapping[str, Any]) -> Any:
    """Return the settings, one per line, for the tab that shows texts as Markdown."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    lines = [f"    {name} = {json.dumps(value)}" for name, value in flat(parameters, ".")]
    plugin = SummaryMetadata.PluginData(plugin_name="text")
    tensor = TensorProto(dtype=DT_STRING, string_val=["\n".join(lines).encode()])
    return Summary.Value(tag=tag, tensor=tensor, metadata=SummaryMetadata(plugin_data=plugin))
