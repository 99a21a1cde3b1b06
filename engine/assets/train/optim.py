"""Muon for the big matrices, AdamW for the rest, one schedule for both, and a moving average of weights."""

import torch


def orthogonal(g):
    """Five Newton-Schulz steps towards the nearest orthogonal matrix, for a batch (n, rows, cols)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16()
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    for _ in range(5):
        s = x @ x.transpose(1, 2)
        x = a * x + (b * s + c * s @ s) @ x
    return (x.transpose(1, 2) if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal. Convolutions count as matrices (out, in * taps)."""

    def __init__(self, parameters, lr, momentum=0.95, decay=0.01):
        super().__init__(parameters, dict(lr=lr, momentum=momentum, decay=decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            alike = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                g = p.grad.flatten(1)
                m = state.setdefault("m", torch.zeros_like(g))
                m.mul_(group["momentum"]).add_(g)
                alike.setdefault(g.shape, []).append((p, g + group["momentum"] * m))
            for shape, pairs in alike.items():
                updates = orthogonal(torch.stack([u for _, u in pairs]))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for (p, _), u in zip(pairs, updates):
                    p.mul_(1 - group["lr"] * group["decay"]).add_(u.view_as(p), alpha=-group["lr"] * scale)


class Schedule:
    """Warm up, hold, then fall in a line to 2 %: driven by the share of the time that is spent."""

    def __init__(self, optimisers, warm=0.02, hold=0.4):
        self.optimisers, self.warm, self.hold = optimisers, warm, hold
        self.base = [[g["lr"] for g in o.param_groups] for o in optimisers]

    def fall_from_here(self):
        """Forget the plan: from the present rates, in a line to 2 % at share 1."""
        self.base = [[g["lr"] for g in o.param_groups] for o in self.optimisers]
        self.warm, self.hold = -1.0, 0.0

    def set(self, share):
        if share < self.warm:
            factor = (share + 1e-3) / (self.warm + 1e-3)
        elif share < self.hold:
            factor = 1.0
        else:
            factor = 1 - 0.98 * min(1.0, (share - self.hold) / (1 - self.hold))
        for optimiser, rates in zip(self.optimisers, self.base):
            for group, rate in zip(optimiser.param_groups, rates):
                group["lr"] = rate * factor


class Average:
    """Exponential moving average of a module's weights, young at first."""

    def __init__(self, module, keep=0.998):
        self.keep, self.n = keep, 0
        self.weights = [p.detach().clone() for p in module.parameters()]

    @torch.no_grad()
    def update(self, module):
        self.n += 1
        keep = min(self.keep, (self.n + 1) / (self.n + 15))
        torch._foreach_lerp_(self.weights, [p.detach() for p in module.parameters()], 1 - keep)

    @torch.no_grad()
    def copy_to(self, module):
        for p, w in zip(module.parameters(), self.weights):
            p.copy_(w)
