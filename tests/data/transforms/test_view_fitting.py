"""Images and intrinsics are fitted together."""

import numpy as np
import pytest

from croco_bench.data.transforms.view_fitting import resize_crop_with_intrinsics


@pytest.mark.parametrize("size", [(24, 32), (48, 64), (30, 30), (20, 64)])
def test_fitted_images_keep_their_rays(size: tuple[int, int]) -> None:
    """A picture of its own rays: x/z in red, y/z in green; after fitting, K still says them."""
    K = np.array([[50.0, 0, 33.0], [0, 45.0, 22.0], [0, 0, 1]])
    x, y = np.meshgrid(np.arange(64), np.arange(48))
    rays = np.stack([(x - 33.0) / 50, (y - 22.0) / 45, np.ones_like(x)], axis=2)
    image, moved = resize_crop_with_intrinsics((rays * 100 + 120).astype(np.float32), K, size)
    assert image.shape == (*size, 3)
    x, y = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
    expected = np.stack([(x - moved[0, 2]) / moved[0, 0], (y - moved[1, 2]) / moved[1, 1]], axis=2)
    inside = np.s_[2:-2, 2:-2]
    np.testing.assert_allclose(((image - 120) / 100)[inside][..., :2], expected[inside], atol=2e-3)
    several, cameras = resize_crop_with_intrinsics(np.stack([image] * 2), np.stack([K] * 2), size)
    assert several.shape == (2, *size, 3) and cameras.shape == (2, 3, 3)


def test_nothing_is_cut_off_where_the_shape_fits() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    image[:, :8] = image[:, -8:] = image[:8] = image[-8:] = 200
    fitted, K = resize_crop_with_intrinsics(image, np.array([[525.0, 0, 320], [0, 525, 240], [0, 0, 1]]), (240, 320))
    assert (fitted[:2] == 200).all() and (fitted[:, -2:] == 200).all() and not fitted[8:-8, 8:-8].any()
    np.testing.assert_allclose(K, np.array([[262.5, 0, 159.75], [0, 262.5, 119.75], [0, 0, 1]]))
