"""AP by faster-coco-eval, the reference for every figure that is published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from physadv.dataset import LabelledImage
from physadv.detect.matching import AP_CONF, MATCH_IOU, MAX_BOXES
from physadv.types import Detections


def ap50(images: Sequence[LabelledImage], answers: Sequence[Detections]) -> float | None:
    """Return AP at IoU .5 over the people who count, from boxes with score >= .001; None if nobody counts.

    People too small to count are crowds in COCO's sense: a box on them is neither right nor wrong.
    """
    truth: list[dict[str, Any]] = []
    boxes: list[list[float]] = []
    for number, (image, answer) in enumerate(zip(images, answers, strict=True), 1):
        for xyxy, counts in zip(image.boxes, image.counts, strict=True):
            x1, y1, x2, y2 = (float(v) for v in xyxy)
            bbox = [x1, y1, x2 - x1, y2 - y1]
            truth.append({
                "id": len(truth) + 1, "image_id": number, "category_id": 1, "bbox": bbox,
                "area": max(bbox[2] * bbox[3], 1e-3), "iscrowd": 0 if counts else 1,
            })  # fmt: skip
        kept = answer.above(AP_CONF)
        for xyxy, score in zip(kept.xyxy.tolist(), kept.score.tolist(), strict=True):
            boxes.append([number, xyxy[0], xyxy[1], xyxy[2] - xyxy[0], xyxy[3] - xyxy[1], score, 1])
    if not any(t["iscrowd"] == 0 for t in truth):
        return None
    if not boxes:
        return 0.0
    sizes = [{"id": i, "width": s.size[0], "height": s.size[1]} for i, s in enumerate(images, 1)]
    dataset = {"images": sizes, "annotations": truth, "categories": [{"id": 1, "name": "person"}], "info": {}}
    coco = COCO(dataset)
    judge = COCOeval_faster(coco, coco.loadRes(np.array(boxes)), iouType="bbox")
    judge.params.iouThrs = np.array([MATCH_IOU])
    judge.params.maxDets = [1, 10, MAX_BOXES]
    judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
    judge.evaluate()
    judge.accumulate()
    precision = np.asarray(judge.eval["precision"])[0, :, 0, 0, -1]
    return float(precision[precision > -1].mean())
