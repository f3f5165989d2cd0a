"""Coefficients of `scaler.policy.returns`, intercept first: made by ``python -m scaler.backtest.fit_returns``.

Fitted to the gaps of all clients of ServeGen m-mid (two weeks, windows of 600 s) that are active in fewer than 45 % of the windows.
"""

import numpy as np

AGE = (-2.9932, 1.3043, 0.9258, 0.7578, 0.6576, 0.4238, 0.5605, 0.2497, 0.0296, -0.1573, -0.8373, -0.8934)
"""Intercept, and the hats of the gap's age."""
LAGS = (0.4924, -0.1836, 0.5073, 0.0113, 0.795, -0.2231, 0.4259, -0.2788)
"""A day ago, a week ago."""
OWN = (0.0055, 0.3441, 0.299, 0.1338)
"""The endpoint's own gaps."""
THETA = np.array((*AGE, *LAGS, *OWN))
