"""VOC's difficult objects, in training."""

from mmcv.transforms import BaseTransform

from viewplug.registry import TRANSFORMS


@TRANSFORMS.register_module()
class KeepDifficult(BaseTransform):
    """Train on VOC's "difficult" objects as on any other; goes before ``LoadAnnotations``.

    detectron2, with which the papers were run, does so; mmdet's data set marks them to be ignored, which is right in
    the test and drops one object in ten in training.
    """

    def transform(self, results: dict) -> dict:
        results['instances'] = [dict(instance, ignore_flag=0) for instance in results['instances']]
        return results
