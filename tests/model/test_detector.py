import pytest
import torch

from jvcr.model.detector import Detector, DetectorConfig, LookConfig, ProposalConfig, cells_of, normalized

SMALL = DetectorConfig(
    ProposalConfig(stem=(8, 8), channels=(8, 8, 8, 8), units=(1, 1, 1, 1), pyramid=8),
    LookConfig(size=32, channels=(8, 8, 8, 8), units=1, squeezed=8, features=8),
)


def test_shapes_of_any_picture():
    detector = Detector(SMALL).eval()
    cells = sum(rows * columns for _, rows, columns in cells_of(128, 320))
    assert detector.proposal(torch.zeros(2, 3, 128, 320)).shape == (2, 6, cells)
    assert detector.look(torch.zeros(5, 3, 32, 32)).shape == (5, 6)


def test_the_detector_that_ships_is_small():
    assert sum(p.numel() for p in Detector(DetectorConfig()).parameters()) < 330_000


def test_light_and_contrast_are_the_same_for_the_networks():
    pixels = 255 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(normalized(pixels), normalized(30 + 0.4 * pixels), atol=1e-2, rtol=0)
    assert normalized(torch.full((1, 3, 8, 8), 7.0)).abs().max() == 0


def test_config_round_trip():
    assert DetectorConfig.from_dict(SMALL.to_dict()) == SMALL


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ProposalConfig, {"channels": (8, 8)}),
        (ProposalConfig, {"units": (0, 1, 1, 1)}),
        (ProposalConfig, {"pyramid": 0}),
        (LookConfig, {"size": 40}),
        (LookConfig, {"view": 0.0}),
        (LookConfig, {"channels": (1, 2, 3, 0)}),
    ],
)
def test_impossible_shapes_are_refused(kind, values):
    with pytest.raises(ValueError, match=r"must|has"):
        kind(**values)
