"""Every penalty against closed forms, invariances and finite differences, in float64."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from biorep.errors import ConfigError
from biorep.penalties.input_gradient import input_gradient_penalty
from biorep.penalties.isometric import distances, isometric_penalty
from biorep.penalties.jacobian import holzhausen_jacobian_penalty, jacobian_penalty, sphere
from biorep.penalties.parseval import parseval_penalty
from biorep.penalties.singular_values import bound_singular_values
from biorep.penalties.spectral import own_variances, spectral_penalty
from biorep.penalties.spectral_norm import (
    largest_singular_value,
    singular_vectors,
    spectral_norm_penalty,
)

torch.manual_seed(0)
DOUBLE = torch.float64


def draw(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def rotation(size, seed=0):
    return torch.linalg.qr(draw(size, size, seed=seed)).Q


def with_spectrum(eigenvalues, samples=200, seed=0):
    """Return centred samples whose covariance (ddof 1) has exactly these eigenvalues, and its eigenvectors."""
    eigenvalues = torch.as_tensor(eigenvalues, dtype=DOUBLE)
    scores = draw(samples, len(eigenvalues), seed=seed)
    scores = torch.linalg.qr(scores - scores.mean(0)).Q * np.sqrt(samples - 1)
    basis = rotation(len(eigenvalues), seed + 1)
    return (scores * eigenvalues.sqrt()) @ basis.T, basis


LAW = 1 / np.arange(1, 25)


class Test_spectral:
    @pytest.mark.parametrize("tau", [0, 3, 10, 22])
    @pytest.mark.parametrize("alpha", [0.7, 1.0, 1.5])
    def test_an_exact_power_law_costs_nothing(self, tau, alpha):
        samples, basis = with_spectrum(np.arange(1, 25.0) ** -alpha)
        assert abs(float(spectral_penalty(samples, basis, alpha=alpha, tau=tau))) < 1e-12

    @pytest.mark.parametrize(("factor", "value"), [(1.05, (0.05**2 + 0.05) * 9 / 24), (0.5, 0.25 * 9 / 24)])
    def test_a_tail_that_is_too_high_or_too_low(self, factor, value):
        law = LAW.copy()
        law[15:] *= factor
        samples, basis = with_spectrum(law)
        assert float(spectral_penalty(samples, basis)) == pytest.approx(value, rel=1e-9)

    def test_components_are_sorted_anew(self):
        law = LAW.copy()
        law[15:] *= 2  # now before others, the anchor among them
        samples, basis = with_spectrum(law)
        ordered = np.sort(law)[::-1]
        excess = (ordered / (ordered[10] * 11 / np.arange(1, 25)) - 1)[11:]
        expected = (excess**2 + np.maximum(excess, 0)).sum() / 24
        assert float(spectral_penalty(samples, basis)) == pytest.approx(expected, rel=1e-9)
        assert expected != pytest.approx(2 * 9 / 24)

    def test_the_value_does_not_depend_on_scale_shift_rotation_or_on_order_and_sign_of_the_basis(self):
        samples, basis = with_spectrum(LAW * (1 + 0.3 * np.sin(np.arange(24))))
        value = float(spectral_penalty(samples, basis, tau=3))
        turn, order, signs = rotation(24, 7), torch.randperm(24), torch.sign(draw(24, seed=3))
        for other, columns in (
            (samples * 3.7, basis),
            (samples + draw(24), basis),
            (samples @ turn, turn.T @ basis),
            (samples, basis[:, order] * signs),
        ):
            assert float(spectral_penalty(other, columns, tau=3)) == pytest.approx(value, rel=1e-9)
        absolute = [float(spectral_penalty(x, basis, tau=3, target="absolute")) for x in (samples, 2 * samples)]
        assert absolute[0] != pytest.approx(absolute[1])

    def test_absolute_target_by_hand(self):
        law = LAW * np.linspace(1.2, 0.8, 24)
        samples, basis = with_spectrum(law)
        excess = (law / LAW - 1)[3:]
        expected = (excess**2 + np.maximum(excess, 0)).sum() / 24
        assert float(spectral_penalty(samples, basis, tau=3, target="absolute")) == pytest.approx(expected, rel=1e-9)

    def test_no_gradient_goes_through_the_anchor(self):
        samples, basis = with_spectrum(LAW * (1 + 0.2 * np.cos(np.arange(24))))
        samples = (samples + 0.1).requires_grad_()
        (gradient,) = torch.autograd.grad(spectral_penalty(samples, basis, tau=3), samples)
        centred = (samples - samples.mean(0)).detach()
        assert abs(float((gradient * centred).sum())) > 1e-3  # it would be 0 with the anchor in the graph
        variances = (centred @ basis).square().sum(0) / (len(samples) - 1)
        order = variances.argsort(descending=True)
        wanted = variances[order][3] * 4 / torch.arange(1, 25, dtype=DOUBLE)
        ratio = variances[order] / wanted
        weights = torch.zeros(24, dtype=DOUBLE)
        weights[order[4:]] = ((2 * (ratio - 1) + (ratio > 1)) / (24 * wanted))[4:]
        formula = 2 / (len(samples) - 1) * centred @ basis @ torch.diag(weights) @ basis.T
        torch.testing.assert_close(gradient, formula, rtol=1e-9, atol=1e-12)

    def test_basis_of_the_batch_gives_exact_eigenvalues(self):
        samples = draw(400, 12) @ torch.diag(torch.linspace(1, 3, 12, dtype=DOUBLE))
        basis = torch.linalg.eigh(torch.cov(samples.T)).eigenvectors
        fixed, own = samples.clone().requires_grad_(), samples.clone().requires_grad_()
        value, other = spectral_penalty(fixed, basis, tau=2), spectral_penalty(own, tau=2)
        assert float(value.detach()) == pytest.approx(float(other.detach()), rel=1e-9)
        torch.testing.assert_close(
            torch.autograd.grad(value, fixed)[0], torch.autograd.grad(other, own)[0], rtol=1e-7, atol=1e-12
        )

    def test_gram_form_equals_the_covariance_and_small_batches_are_warned_of(self):
        samples = draw(9, 20)
        centred = samples - samples.mean(0)
        with pytest.warns(UserWarning, match="the spectrum of a batch of 9 for 20 neuroids.*batches of 200 and more"):
            small = own_variances(centred)
        covariance = torch.linalg.eigvalsh(torch.cov(samples.T))[-8:]
        torch.testing.assert_close(small, covariance, rtol=1e-9, atol=1e-12)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            own_variances(draw(200, 20))

    def test_a_basis_of_a_larger_sample_serves_batches_smaller_than_the_layer(self):
        """The variances along it are all positive, so that no component is left out."""
        samples, basis = with_spectrum(LAW)
        few = samples[:8]
        ordered = (few - few.mean(0)) @ basis
        ordered = (ordered.square().sum(0) / 7).sort(descending=True).values.numpy()
        assert (ordered > 0).all()
        excess = (ordered / (ordered[2] * 3 / np.arange(1, 25)) - 1)[3:]
        expected = (excess**2 + np.maximum(excess, 0)).sum() / 24
        assert float(spectral_penalty(few, basis, tau=2)) == pytest.approx(expected, rel=1e-9)

    def test_the_anchor_itself_adds_nothing_and_in_the_graph_the_gradient_has_no_radial_part(self):
        """The same sum written out, with and without the anchor's own term, and with its gradient."""
        samples, basis = with_spectrum(LAW * (1 + 0.2 * np.cos(np.arange(24))))
        samples = (samples + 0.1).requires_grad_()
        centred = samples - samples.mean(0)
        ordered = ((centred @ basis).square().sum(0) / (len(samples) - 1)).sort(descending=True).values
        law = 4 / torch.arange(1, 25, dtype=DOUBLE)

        def written_out(anchor, start):
            excess = (ordered / (anchor * law) - 1)[start:]
            return (excess.square() + excess.clamp_min(0)).sum() / 24

        value = spectral_penalty(samples, basis, tau=3)
        (gradient,) = torch.autograd.grad(value, samples)
        with_anchor = written_out(ordered[3].detach(), 3)
        assert float(with_anchor.detach()) == pytest.approx(float(value.detach()), rel=1e-12)
        same = torch.autograd.grad(with_anchor, samples, retain_graph=True)[0]
        torch.testing.assert_close(same, gradient, rtol=1e-9, atol=1e-14)
        in_graph = written_out(ordered[3], 4)
        assert float(in_graph.detach()) == pytest.approx(float(value.detach()), rel=1e-12)
        radial = (torch.autograd.grad(in_graph, samples)[0] * centred.detach()).sum()
        assert abs(float(radial)) < 1e-9

    def test_components_without_variance_are_left_out_with_finite_gradients(self):
        """Also if the anchor is among them: dead units leave a spectrum of five components."""
        alive, _ = with_spectrum(LAW[:5])
        samples = torch.cat([alive, torch.zeros(len(alive), 19, dtype=DOUBLE)], 1).requires_grad_()
        for basis in (torch.eye(24, dtype=DOUBLE), None):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = spectral_penalty(samples, basis, tau=10)
            (gradient,) = torch.autograd.grad(value, samples)
            assert np.isfinite(float(value.detach()))
            assert torch.isfinite(gradient).all()

    @pytest.mark.parametrize("samples", [5, 300])
    def test_own_basis_has_the_gradient_of_finite_differences(self, samples):
        rows = draw(samples, 7, seed=2) @ torch.diag(torch.linspace(1, 2, 7, dtype=DOUBLE))
        first = rows[0].clone().requires_grad_()

        def penalty(row):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return spectral_penalty(torch.cat([row[None], rows[1:]]), tau=1, target="absolute")

        assert gradcheck(penalty, (first,))

    def test_gradients_of_the_whole_loss_reach_the_parameters(self):
        """Cross-entropy plus the penalty, through a small tanh network."""
        rows, labels = draw(30, 6, seed=1), torch.arange(30) % 3
        leaves = tuple(matrix.requires_grad_() for matrix in (draw(5, 6, seed=2), draw(3, 5, seed=3)))
        basis = rotation(5, 4)

        def loss(first, second):
            hidden = torch.tanh(rows @ first.T)
            penalty = spectral_penalty(hidden, basis, tau=1, target="absolute")
            return torch.nn.functional.cross_entropy(hidden @ second.T, labels) + 0.5 * penalty

        assert gradcheck(loss, leaves)

    def test_gradients_are_those_of_finite_differences(self):
        samples, basis = with_spectrum(LAW[:6] * np.array([1, 1.1, 0.8, 1.2, 0.7, 1.3]), samples=12)
        first = samples[0].clone().requires_grad_()

        def penalty(row, target):
            return spectral_penalty(torch.cat([row[None], samples[1:]]), basis, tau=1, target=target)

        assert gradcheck(lambda row: penalty(row, "absolute"), (first,))

    def test_bad_requests_are_refused(self):
        samples, basis = with_spectrum(LAW)
        for tau in (-1, 23):
            with pytest.raises(ConfigError, match=f"tau = {tau} must be between 0 and 22"):
                spectral_penalty(samples, basis, tau=tau)
        with pytest.raises(ConfigError, match="did you mean 'anchored'"):
            spectral_penalty(samples, basis, target="anchord")
        with pytest.raises(ConfigError, match="a batch of 8 is too small .* component 11 .* it takes 13"):
            spectral_penalty(samples[:8], None)
        with pytest.raises(ConfigError, match="a batch of 8 is too small .* component 11 .* it takes 11"):
            spectral_penalty(samples[:8], basis)
        with pytest.raises(ConfigError, match=r"the basis is \(24, 5\), the activations have 24 neuroids"):
            spectral_penalty(samples, basis[:, :5], tau=2)


def network(x, *, weights, activation=torch.tanh):
    first, second = weights
    return activation(x @ first.T) @ second.T


class Test_jacobian:
    weights = (draw(16, 12, seed=1, scale=0.3), draw(4, 16, seed=2, scale=0.3))

    def exact(self, x):
        first, second = self.weights
        slope = 1 - torch.tanh(x @ first.T).square()
        return torch.stack([second @ torch.diag(row) @ first for row in slope])

    def test_exact_value_is_the_closed_form(self):
        x = draw(8, 12, seed=3).requires_grad_()
        value = float(jacobian_penalty(network(x, weights=self.weights), x, n_proj=-1).detach())
        jacobians = self.exact(x.detach())
        assert value == pytest.approx(float(jacobians.square().sum((1, 2)).mean() / 2), rel=1e-12)
        first, second = self.weights
        slope = 1 - torch.tanh(x.detach() @ first.T).square()
        gram = (first @ first.T) * (second.T @ second)
        assert value == pytest.approx(float((slope @ gram * slope).sum(1).mean() / 2), rel=1e-12)

    def test_any_orthonormal_basis_of_the_outputs_gives_the_same_exact_value(self):
        """Turned outputs have a turned Jacobian, of the same Frobenius norm."""
        x = draw(8, 12, seed=3).requires_grad_()
        outputs = network(x, weights=self.weights)
        values = [
            float(jacobian_penalty(outputs @ turn, x, n_proj=-1).detach())
            for turn in (rotation(4), torch.eye(4).double())
        ]
        assert values[0] == pytest.approx(values[1], rel=1e-12)
        assert values[1] == pytest.approx(float(self.exact(x.detach()).square().sum() / 16), rel=1e-12)

    def test_the_published_variant_has_the_gradient_of_finite_differences(self):
        x = draw(3, 12, seed=5).requires_grad_()

        def penalty(first):
            generator = torch.Generator().manual_seed(0)
            return holzhausen_jacobian_penalty(torch.tanh(x @ first.T), x, generator=generator)

        assert gradcheck(penalty, (self.weights[0].clone().requires_grad_(),))

    @pytest.mark.parametrize("n_proj", [1, 3])
    def test_projections_have_the_right_mean_and_variance(self, n_proj):
        """One direction v on the sphere: C v^T A v, A = J J^T, has mean tr A and a known variance."""
        x = draw(1, 12, seed=3).requires_grad_()
        generator, draws = torch.Generator().manual_seed(1), 4000
        outputs = network(x, weights=self.weights)
        values = np.array(
            [float(jacobian_penalty(outputs, x, n_proj=n_proj, generator=generator).detach()) for _ in range(draws)]
        )
        (jacobian,) = self.exact(x.detach())
        gram, size = (jacobian @ jacobian.T).numpy(), 4
        mean = np.trace(gram) / 2
        second = size**2 * (2 * np.trace(gram @ gram) + np.trace(gram) ** 2) / (size * (size + 2))
        variance = (second - np.trace(gram) ** 2) / 4 / n_proj
        assert abs(values.mean() - mean) < 4 * np.sqrt(variance / draws)
        spread = values.var()
        error = np.sqrt((np.mean((values - values.mean()) ** 4) - spread**2) / draws)
        assert abs(spread - variance) < 4 * error

    def test_directions_of_samples_and_projections_are_independent_unit_vectors(self):
        directions = sphere(3, 500, 4, like=draw(1))
        torch.testing.assert_close(directions.norm(dim=-1), torch.ones(3, 500, dtype=DOUBLE))
        flat = directions.reshape(-1, 4)
        assert len(torch.unique(flat[:, 0])) == len(flat)
        assert float((directions[0] * directions[1]).sum(-1).mean().abs()) < 4 * 0.5 / np.sqrt(500)

    def test_a_linear_network_is_weight_decay_and_another_is_not(self):
        matrix = draw(4, 12)
        values = []
        for seed in (1, 2):
            x = draw(5, 12, seed=seed).requires_grad_()
            assert float(jacobian_penalty(x @ matrix.T, x, n_proj=-1).detach()) == pytest.approx(
                float(matrix.square().sum() / 2), rel=1e-12
            )
            values.append(float(jacobian_penalty(network(x, weights=self.weights), x, n_proj=-1).detach()))
        assert values[0] != pytest.approx(values[1], rel=1e-3)

    def test_gradients_reach_the_parameters(self):
        x = draw(3, 12, seed=5).requires_grad_()
        first, second = (matrix.clone().requires_grad_() for matrix in self.weights)
        assert gradcheck(lambda a, b: jacobian_penalty(network(x, weights=(a, b)), x, n_proj=-1), (first, second))

    def test_bad_requests_are_refused(self):
        x = draw(3, 12)
        with pytest.raises(ConfigError, match="n_proj must be -1 .* got 0"):
            jacobian_penalty(x, x, n_proj=0)
        with pytest.raises(ConfigError, match="requires_grad_"):
            jacobian_penalty(x, x)


class Test_isometric:
    inputs, labels = draw(12, 5, seed=1), torch.arange(12) % 3

    def masked(self):
        same = (self.labels[:, None] == self.labels[None, :]).to(DOUBLE)
        return same * torch.cdist(self.inputs, self.inputs, compute_mode="donot_use_mm_for_euclid_dist")

    def moved(self):
        """Every class turned and shifted in its own way."""
        result = torch.empty_like(self.inputs)
        for label in range(3):
            chosen = self.labels == label
            result[chosen] = self.inputs[chosen] @ rotation(5, label + 5) + draw(5, seed=label)
        return result

    @pytest.mark.parametrize("mode", ["raw", "maxnorm"])
    def test_isometries_of_each_class_cost_nothing(self, mode):
        for representation in (self.inputs, self.moved()):
            assert float(isometric_penalty(representation, self.inputs, self.labels, mode=mode)) < 1e-20

    def test_raw_by_hand(self):
        found = float(isometric_penalty(2 * self.inputs, self.inputs, self.labels))
        assert found == pytest.approx(float(self.masked().square().mean()), rel=1e-9)
        one = self.inputs * torch.where(self.labels == 1, 2.0, 1.0)[:, None]
        expected = self.masked()[self.labels == 1].square().sum() / 144
        assert float(isometric_penalty(one, self.inputs, self.labels)) == pytest.approx(float(expected), rel=1e-9)
        assert float(isometric_penalty(self.inputs / 3, self.inputs, self.labels, scale=3.0)) < 1e-20

    def test_pairs_do_not_count_the_other_classes(self):
        everything = float(isometric_penalty(2 * self.inputs, self.inputs, self.labels))
        pairs = float(isometric_penalty(2 * self.inputs, self.inputs, self.labels, reduction="pairs"))
        assert pairs == pytest.approx(everything * 144 / (3 * 4 * 3), rel=1e-12)

    @pytest.mark.parametrize("mode", ["raw", "maxnorm"])
    def test_turning_and_moving_the_representation_changes_nothing(self, mode):
        representation = draw(12, 7, seed=9)
        values = [
            float(isometric_penalty(x, self.inputs, self.labels, mode=mode))
            for x in (representation, representation @ rotation(7, 3), representation + draw(7, seed=4))
        ]
        assert values[0] > 1e-5
        assert values == pytest.approx([values[0]] * 3, rel=1e-9)

    def test_maxnorm_by_hand_and_without_scale(self):
        representation = draw(12, 7, seed=9)
        own = (self.labels[:, None] == self.labels[None, :]) * torch.cdist(representation, representation)
        given = self.masked()
        expected = ((own / own.max() / 0.5 - given / given.max()).square().mean()) ** 2
        found = [
            float(isometric_penalty(x, self.inputs, self.labels, mode="maxnorm", scale=0.5))
            for x in (representation, 10 * representation)
        ]
        assert found == pytest.approx([float(expected)] * 2, rel=1e-6)

    @pytest.mark.parametrize("mode", ["raw", "maxnorm"])
    def test_collapsed_classes_have_a_finite_value_and_no_gradient(self, mode):
        collapsed = torch.zeros(12, 4, dtype=DOUBLE, requires_grad=True)
        value = isometric_penalty(collapsed, self.inputs, self.labels, mode=mode)
        (gradient,) = torch.autograd.grad(value, collapsed)
        assert np.isfinite(float(value.detach()))
        assert (gradient == 0).all()
        if mode == "raw":
            assert float(value.detach()) == pytest.approx(float(self.masked().square().mean()), rel=1e-9)

    def test_a_batch_without_a_pair_costs_nothing(self):
        representation = draw(3, 4).requires_grad_()
        value = isometric_penalty(representation, self.inputs[:3], torch.arange(3))
        assert float(value.detach()) == 0
        assert (torch.autograd.grad(value, representation)[0] == 0).all()

    @pytest.mark.parametrize("offset", [0.0, 1e3])
    def test_distances_equal_those_of_each_pair(self, offset):
        rows = draw(30, 8) + offset
        rows[3] = rows[7]
        exact = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
        torch.testing.assert_close(distances(rows), exact, rtol=1e-9, atol=1e-7)
        assert float(distances(rows)[3, 7]) == 0

    @pytest.mark.parametrize("options", [{}, {"reduction": "pairs"}, {"mode": "maxnorm", "scale": 0.5}])
    def test_gradients_are_those_of_finite_differences(self, options):
        representation = draw(6, 3, seed=4).requires_grad_()
        inputs, labels = self.inputs[:6], torch.tensor([0, 0, 0, 1, 1, 2])
        assert gradcheck(lambda x: isometric_penalty(x, inputs, labels, **options), (representation,))

    def test_bad_requests_are_refused(self):
        for options, message in (
            ({"mode": "rau"}, "did you mean 'raw'"),
            ({"reduction": "mean"}, "reduction"),
            ({"scale": 0.0}, "scale must be positive"),
            ({"mode": "maxnorm", "reduction": "pairs"}, "goes with mode 'raw'"),
        ):
            with pytest.raises(ConfigError, match=message):
                isometric_penalty(self.inputs, self.inputs, self.labels, **options)

    def test_shapes_that_would_be_broadcast_are_refused(self):
        for inputs, labels in ((self.inputs[:1], self.labels), (self.inputs, self.labels[:1])):
            with pytest.raises(ConfigError, match="presentations"):
                isometric_penalty(self.inputs, inputs, labels)

    def test_nan_stays_nan(self):
        assert torch.isnan(isometric_penalty(self.inputs * torch.nan, self.inputs, self.labels))


class Test_matrices:
    weights = (draw(6, 9, seed=1), draw(5, 6, seed=2))

    @pytest.mark.parametrize(
        ("matrix", "expected"), [([[1.0, -1.0], [2.0, -2.0]], 5.0), ([[2.0, -1.0], [-1.0, 2.0]], 4.5)]
    )
    def test_a_matrix_that_takes_ones_to_zero_has_a_norm(self, matrix, expected):
        assert float(spectral_norm_penalty([torch.tensor(matrix)])) == pytest.approx(expected, rel=1e-5)

    def test_a_bound_below_zero_is_refused(self):
        with pytest.raises(ConfigError, match="bound must be 0 or more, got -0.5"):
            bound_singular_values([torch.eye(3)], bound=-0.5)

    def test_spectral_norm_is_the_largest_singular_value_with_its_gradient(self):
        expected = sum(torch.linalg.matrix_norm(matrix, 2).square() / 2 for matrix in self.weights)
        leaves = [matrix.clone().requires_grad_() for matrix in self.weights]
        value = spectral_norm_penalty(leaves, iterations=500)
        assert float(value.detach()) == pytest.approx(float(expected), rel=1e-9)
        for gradient, matrix in zip(torch.autograd.grad(value, leaves), self.weights, strict=True):
            left, values, right = torch.linalg.svd(matrix)
            torch.testing.assert_close(gradient, values[0] * torch.outer(left[:, 0], right[0]), rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize("shape", [(6, 9), (90, 130), (130, 90)])
    def test_the_largest_singular_value_alone(self, shape):
        matrix = draw(*shape, seed=8)
        assert largest_singular_value(matrix) == pytest.approx(float(torch.linalg.matrix_norm(matrix, 2)), rel=1e-12)

    def test_starts_are_carried_on(self):
        starts = [torch.ones(9, dtype=DOUBLE), torch.ones(6, dtype=DOUBLE)]
        for _ in range(500):
            value = spectral_norm_penalty(self.weights, iterations=1, starts=starts)
        assert float(value) == pytest.approx(float(spectral_norm_penalty(self.weights, iterations=500)), rel=1e-9)
        left, right = singular_vectors(self.weights[0], starts[0], 1)
        assert float(left @ self.weights[0] @ right) == pytest.approx(
            float(torch.linalg.matrix_norm(self.weights[0], 2)), rel=1e-9
        )

    def test_parseval_is_zero_for_orthonormal_rows_and_by_hand(self):
        assert float(parseval_penalty([rotation(9)[:5], rotation(6)[:, :4]])) < 1e-24
        matrix = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 1.0]], dtype=DOUBLE)
        assert float(parseval_penalty([matrix])) == pytest.approx(3**2 + 1**2)
        assert float(parseval_penalty([matrix.T])) == pytest.approx(3**2 + 1**2)

    def test_gradients_are_those_of_finite_differences(self):
        leaf = self.weights[1].clone().requires_grad_()
        assert gradcheck(lambda matrix: parseval_penalty([matrix]), (leaf,))

    def test_no_iteration_is_refused(self):
        with pytest.raises(ConfigError, match="iterations must be at least 1"):
            spectral_norm_penalty(self.weights, iterations=0)


class Test_input_gradient:
    @pytest.mark.parametrize("labels", [[-100, -100], [0], [[0, 1]]])
    def test_labels_that_are_no_classes_are_refused(self, labels):
        inputs = torch.ones(2, 3, requires_grad=True)
        with pytest.raises(ConfigError, match="labels must be classes, one for each of 2"):
            input_gradient_penalty(inputs * 2, inputs, torch.tensor(labels))

    def test_closed_form_and_finite_differences(self):
        weights = Test_jacobian.weights
        x, labels = draw(8, 12, seed=3).requires_grad_(), torch.arange(8) % 4
        logits = network(x, weights=weights)
        value = float(input_gradient_penalty(logits, x, labels).detach())
        difference = torch.softmax(logits.detach(), 1) - torch.nn.functional.one_hot(labels, 4)
        jacobians = Test_jacobian().exact(x.detach())
        expected = torch.einsum("bc,bci->bi", difference, jacobians).square().sum(1).mean()
        assert value == pytest.approx(float(expected), rel=1e-12)
        first, second = (matrix.clone().requires_grad_() for matrix in weights)
        rows = draw(2, 12).requires_grad_()
        assert gradcheck(
            lambda a, b: input_gradient_penalty(network(rows, weights=(a, b)), rows, labels[:2]), (first, second)
        )
        with pytest.raises(ConfigError, match="require a gradient"):
            input_gradient_penalty(logits.detach(), x.detach(), labels)


def test_a_target_that_is_no_number_is_refused_and_nan_stays_nan():
    rows = draw(40, 12, seed=3)
    with pytest.raises(ConfigError, match="alpha must be a number, got nan"):
        spectral_penalty(rows, torch.eye(12, dtype=DOUBLE), alpha=float("nan"))
    assert torch.isnan(spectral_penalty(rows * torch.nan, torch.eye(12, dtype=DOUBLE)))
