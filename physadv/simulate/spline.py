"""Thin-plate splines: smooth maps of the plane that take some points to given places."""

from __future__ import annotations

import torch


def spline_basis(control: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Return (n, k) float64: how far each point moves when one control point moves by one.

    control: (k, 2) points, not all on one line. points: (n, 2). A spline is linear in its control points, so one basis
    serves every draw: values (k, c) at the controls are (basis @ values) at the points.

    Source: Bookstein 1989, the kernel r^2 log r.
    """
    control, points = control.double(), points.double()
    count = len(control)
    plane = torch.cat([control.new_ones(count, 1), control], 1)
    system = control.new_zeros(count + 3, count + 3)
    system[:count, :count] = _bend(control, control)
    system[:count, count:], system[count:, :count] = plane, plane.T
    solved = torch.linalg.solve(system, torch.eye(count + 3, dtype=torch.float64, device=control.device)[:, :count])
    return torch.cat([_bend(points, control), points.new_ones(len(points), 1), points], 1) @ solved


def _bend(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the (n, m) thin-plate kernel r^2 log r."""
    squared = (a[:, :1] - b[:, 0]).square_().add_((a[:, 1:] - b[:, 1]).square_())
    return torch.special.xlogy(squared, squared).mul_(0.5)
