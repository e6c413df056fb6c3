import numpy as np

from jvcr.inference.proposals import distinct


def test_each_face_once():
    squares = np.array([[50, 50, 20, 0], [52, 50, 22, 90], [50, 52, 60, 0], [120, 50, 20, 0], [50, 50, 8, 0]])
    squares = squares.astype(np.float32)
    scores = np.array([0.8, 0.9, 0.95, 0.5, 0.3], np.float32)
    assert distinct(squares, scores).tolist() == [2, 3]
    assert distinct(squares[[0, 1, 3]], scores[[0, 1, 3]]).tolist() == [1, 2]
    assert distinct(np.zeros((0, 4), np.float32), np.zeros(0, np.float32)).tolist() == []
