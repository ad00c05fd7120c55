"""Wrong formulas for the functions on the page of equations: what the test of a row must notice.

Keys are the function and the test of a row. A wrong formula is a piece of the function's code, as `ast.unparse` lays it
out, that occurs in it once, and what stands there instead. If a function is rewritten, its wrong formulas must be too.
"""

METHODS = {
    "diffusion.gaussian.objectives.simple.Simple": "Simple.of",
    "diffusion.gaussian.objectives.hybrid.Hybrid": "Hybrid.of",
    "diffusion.gaussian.objectives.times.Discrete": "Discrete.draw",
    "diffusion.gaussian.objectives.noising.NoisingObjective": "NoisingObjective.at",
    "diffusion.gaussian.objectives.loss_aware.LossHistory": "LossHistory.weights",
    "diffusion.gaussian.schedule.VarianceExploding": "VarianceExploding._alpha_sigma",
    "diffusion.gaussian.schedule.Cosine": "Cosine._betas",
    "diffusion.gaussian.schedule.Linear": "Linear._betas",
}
"""The methods in which the formulas of classes are."""

Wrong = list[tuple[str, str]]
A, D = "diffusion.gaussian.", "diffusion.discrete."
ANCESTRAL, DDIM = f"{A}samplers.ancestral.ancestral", f"{A}samplers.ddim.ddim"
TRANSITION, SAMPLE = f"{A}process.Process.transition", f"{A}process.Process.sample"
POSTERIOR, WEIGHTS = f"{A}process.Process.posterior", f"{A}process.Process.posterior_weights"
COEFFICIENTS, BOUND = f"{A}denoiser.coefficients", f"{A}objectives.bound.bound_term"
LINEAR, DENSITY = f"{A}schedule.Linear", f"{A}likelihood.ode.log_density"
CHAIN, ELBO = f"{A}chain.", f"{A}likelihood.elbo."

swapped_posterior: Wrong = [("process.posterior(x, x_0, t, s)", "process.posterior(x_0, x, t, s)")]
swapped_transition: Wrong = [("*self.schedule(t), *self.schedule(s)", "*self.schedule(s), *self.schedule(t)")]
posterior_weights: Wrong = [
    ("alpha_ts * (sigma_s / sigma_t) ** 2", "alpha_s * (sigma_s / sigma_t) ** 2"),
    ("alpha_s * var_ts / sigma_t ** 2", "alpha_t * var_ts / sigma_t ** 2"),
    ("var_ts * (sigma_s / sigma_t) ** 2", "var_ts * (sigma_s / sigma_t)"),
]

WRONG: dict[tuple[str, str], Wrong] = {
    (ANCESTRAL, "mean_and_variance_follow_the_recursion"): [
        *swapped_posterior,
        ("like(torch.sqrt(spread), x) * noise(k)", "like(spread, x) * noise(k)"),
    ],
    (ANCESTRAL, "small_variance_is_exact_for_a_point"): [("variance == 'small'", "variance != 'small'")],
    (ANCESTRAL, "large_variance_is_exact_for_standard_normal_data"): [
        ("process.transition(t, s)[1]", "process.transition(t, s)[0]"),
        ("variance == 'small'", "variance != 'small'"),
    ],
    (ANCESTRAL, "ancestral_steps"): [
        *swapped_posterior,
        ("like(torch.sqrt(spread), x) * noise(k)", "like(torch.sqrt(spread), x) * noise(k + 1)"),
    ],
    (TRANSITION, "one_step_of_the_chain_has_the_papers_beta"): swapped_transition,
    (TRANSITION, "transitions_compose_to_the_marginal"): swapped_transition,
    (TRANSITION, "simulated_chain_has_the_closed_form_marginals"): swapped_transition,
    (SAMPLE, "a_sample_of_the_marginal_is_the_papers_equation_4"): [
        ("like(sigma, x_0) * eps", "like(sigma ** 2, x_0) * eps"),
        ("like(alpha, x_0) * x_0", "like(alpha ** 2, x_0) * x_0"),
        ("self.schedule(t)", "self.schedule(t - 1 / 1000)"),
    ],
    (f"{A}likelihood.elbo.variational_bound", "the_bound_of_a_chain_is_the_closed_form"): [
        ("values[0, rows] = prior_kl(schedule, x)", "values[0, rows] = 2 * prior_kl(schedule, x)"),
        ("t, s = (strata.times[i + 1], strata.times[i])", "t, s = (strata.times[i + 1], strata.times[i] / 2)"),
        ("values[2, rows] = decoder", "values[2, rows] = 1.5 * decoder"),
    ],
    (WEIGHTS, "posterior_by_bayes_rule_on_a_grid"): posterior_weights,
    (WEIGHTS, "the_posterior_is_that_of_the_respaced_betas"): posterior_weights,
    (POSTERIOR, "posterior_of_one_step_is_the_papers_equation_7"): [
        ("like(w_t, x_t) * x_t", "like(w_0, x_t) * x_t"),
        ("like(w_0, x_t) * x_0", "like(w_t, x_t) * x_0"),
        ("self.posterior_weights(t, s)", "self.posterior_weights(t, s / 2)"),
    ],
    (f"{A}denoiser.mu_coefficients", "the_target_of_mu_is_the_mean_of_the_step"): [
        ("-w_t / w_0", "-w_t"),
        ("1 / w_0", "1 / w_t"),
        ("step_before(schedule, t)", "step_before(schedule, t) / 2"),
    ],
    (f"{A}process.x0_from_eps", "the_four_names_of_one_prediction"): [
        ("x_t - like", "x_t + like"),
        ("like(sigma, x_t)", "like(sigma ** 2, x_t)"),
        ("/ like(alpha, x_t)", "/ like(alpha ** 2, x_t)"),
    ],
    (COEFFICIENTS, "every_parameterisation_represents_the_exact_denoiser"): [
        ("Coefficients(one, 1 / alpha, -sigma / alpha)", "Coefficients(one, 1 / alpha, -sigma)"),
        ("Coefficients(one, 0 * one, one)", "Coefficients(one, 0 * one, alpha)"),
        ("alpha / norm, -sigma / norm", "alpha / norm, -sigma"),
        ("1 / norm, alpha", "1 / norm ** 2, alpha"),
    ],
    (COEFFICIENTS, "edm_is_karras_table_1"): [
        ("1 / norm, alpha", "1 / norm ** 2, alpha"),
        ("alpha * (sigma_data / norm) ** 2", "alpha * (sigma_data / norm)"),
        ("sigma * sigma_data / norm", "sigma_data / norm"),
    ],
    (BOUND, "the_exact_denoisers_terms_are_the_closed_form"): [
        ("gap = like(w_0 * c.c_out, x_0)", "gap = like(w_0 ** 2 * c.c_out, x_0)"),
        ("return steps * nats", "return (steps - 1) * nats"),
    ],
    (BOUND, "every_term_is_the_papers"): [
        ("gap = like(w_0 * c.c_out, x_0)", "gap = like(c.c_out, x_0)"),
        ("log_variance[first] / 2", "log_variance[first]"),
        ("mean = x_0 + like(c.c_out, x_0)", "mean = x_0 - like(c.c_out, x_0)"),
        ("return steps * nats", "return (steps - 1) * nats"),
    ],
    (f"{A}likelihood.terms.discretised_log_likelihood", "bins_sum_to_one"): [
        ("x_0 - mean + half_bin", "x_0 - mean + 2 * half_bin"),
        ("x_0 < half_bin - 1", "x_0 < -half_bin - 1"),
        ("x_0 > 1 - half_bin", "x_0 > 1 + half_bin"),
    ],
    (f"{A}objectives.simple.Simple", "the_loss_weighs_the_error_of_the_denoiser"): [
        ("self.weighted_error(answer)", "2 * self.weighted_error(answer)"),
    ],
    (LINEAR, "linear_passes_through_the_products_of_the_papers_betas"): [
        ("0.0001, 0.02, steps", "0.0001, 0.02, steps + 1"),
        ("1000 / steps", "1001 / steps"),
        ("0.02", "0.0201"),
    ],
    (LINEAR, "the_long_chain_tends_to_the_sde_at_rate_one_over_T"): [
        ("0.02", "0.0201"),
        ("1000 / steps", "1001 / steps"),
    ],
    (f"{A}objectives.times.Discrete", "discrete_times_are_uniform_on_the_steps"): [
        ("rng.integers(1, self.steps + 1, batch)", "rng.integers(0, self.steps, batch)"),
        ("rng.integers(1, self.steps + 1, batch)", "rng.integers(1, self.steps, batch)"),
        ("/ self.steps", "/ (self.steps + 1)"),
    ],
    (f"{A}objectives.noising.NoisingObjective", "algorithm_1_to_the_letter"): [
        ("like(sigma, x_0) * eps", "like(sigma ** 2, x_0) * eps"),
        ("c.target(x_0, eps, alpha, sigma)", "c.target(eps, x_0, alpha, sigma)"),
        ("denoiser.schedule(t)", "denoiser.schedule(t - 1 / 1000)"),
    ],
    (f"{A}schedule.VarianceExploding", "variance_explodes_as_the_report_says"): [
        ("(self.variance * t).sqrt()", "self.variance * t"),
        ("(self.variance * t).sqrt()", "self.variance ** 0.5 * t"),
    ],
    (DDIM, "ddim_steps"): [
        ("eta ** 2", "eta"),
        ("sigma_s ** 2 - variance", "sigma_t ** 2 - variance"),
        ("like(alpha_s, x) * x_0", "like(alpha_t, x) * x_0"),
    ],
    (DDIM, "ddim_with_eta_1_is_ancestral_sampling"): [
        ("eta ** 2", "2 * eta ** 2"),
        ("process.posterior_weights(t, s)[2]", "process.posterior_weights(t, s)[1]"),
    ],
    (f"{A}process.Process.reverse_log_variance", "the_ends_of_the_learned_range"): [
        ("return share * like(large, share)", "return 2 * share * like(large, share)"),
        ("(1 - share) * like(small, share)", "share * like(small, share)"),
    ],
    (f"{A}objectives.hybrid.Hybrid", "hybrid_trains_the_mean_by_simple_and_the_variance_by_the_bound"): [
        ("answer.error.detach()", "answer.error"),
        ("self.options.vlb_weight * bound", "bound"),
    ],
    (f"{A}schedule.Cosine", "cosine_chain_is_nichol_and_dhariwals"): [
        ("dtype=torch.float64) / steps", "dtype=torch.float64) / (steps + 1)"),
        ("self._curve(", "0.5 * self._curve("),
    ],
    (f"{A}objectives.loss_aware.LossHistory", "the_weighed_mean_is_unbiased_and_spreads_less"): [
        ("len(self.counts) * p", "p"),
        ("len(self.counts) * p", "len(self.counts) * p ** 2"),
    ],
    (f"{A}samplers.grid.snap", "sampling_on_a_grid_is_algorithm_2_of_the_respaced_chain"): [
        ("dtype=torch.float64) / steps", "dtype=torch.float64) / (steps + 1)"),
        ("index[n] = 0", "index[n] = 1"),
    ],
    (f"{A}samplers.analytic.optimal_variance", "the_analytic_variance_is_exact_on_a_gaussian"): [
        ("w_0 ** 2 * spread", "w_0 * spread"),
        ("variance + w_0", "variance - w_0"),
    ],
    (f"{A}samplers.predictor_corrector.predictor_corrector", "langevin_steps_mend_a_wrong_law"): [
        ("like(step, x) * score", "like(-step, x) * score"),
    ],
    (DENSITY, "the_density_of_a_mixture"): [
        ("prior[:, None] + gain + math.log(c_0)", "prior[:, None] - gain + math.log(c_0)"),
        ("prior[:, None] + gain + math.log(c_0)", "prior[:, None] + 1.01 * gain + math.log(c_0)"),
        ("sigma_1 / alpha_1 * c_1", "sigma_1 * c_1"),
    ],
    (DENSITY, "densities"): [
        ("prior[:, None] + gain + math.log(c_0)", "prior[:, None] + gain - math.log(c_0)"),
        ("sigma_1 / alpha_1 * c_1", "sigma_1 / alpha_1"),
    ],
    (f"{A}samplers.heun.heun", "heun_is_algorithm_2"): [
        ("(sigma_s - alpha_s * sigma_t / alpha_t) / 2", "sigma_s - alpha_s * sigma_t / alpha_t"),
        ("churn_noise * added", "added"),
        ("alpha_t / alpha * sigma", "sigma"),
    ],
    (f"{A}samplers.dpmpp.dpmpp_2m", "dpm_solver_steps"): [
        ("h / (2 * h_previous)", "h / h_previous"),
        ("x_0 - previous", "previous - x_0"),
        ("h_previous = (x_0, h)", "h_previous = (x_0, 1.1 * h)"),
    ],
    (f"{A}samplers.unipc.unipc", "unipc"): [("order=order", "order=order + 1"), ("correct=True", "correct=False")],
    (f"{A}samplers.deis.deis", "deis"): [("order=order", "order=order + 1"), ("prediction='eps'", "prediction='x0'")],
    (f"{A}samplers.sa_solver.sa_solver", "every_step_is_the_integral_of_lagranges_polynomial"): [
        ("1 + tau ** 2", "1 + tau"),
        ("-2 * tau ** 2 * h", "-tau ** 2 * h"),
        ("[:order]", "[:order + 1]"),
    ],
    (f"{A}likelihood.elbo.snr_loss", "the_continuous_bound_is_the_closed_form_and_tends_to_the_entropy"): [
        ("0.5 * like", "1.0 * like"),
        ("log_snr(t).exp()", "log_snr(t).mul(0.5).exp()"),
    ],
    (f"{A}sde.reverse_drift", "drifts_have_the_score_of_the_density"): [("1.0", "0.5"), ("1.0", "-1.0")],
    (f"{A}schedule.Schedule.rates", "the_moments_obey_the_sde"): [
        ("return self._rates(self._checked(t))", "f, g2 = self._rates(self._checked(t))\n    return (2 * f, g2)"),
        ("return self._rates(self._checked(t))", "f, g2 = self._rates(self._checked(t))\n    return (f, g2 / 2)"),
    ],
    (f"{A}sde.to_noise", "to_noise_is_the_closed_map_of_a_gaussian"): [
        ("like(last, z) * z", "z / like(last, z)"),
        ("times[-1]", "times[-2]"),
    ],
    (f"{A}samplers.consistency.consistency", "any_number_of_calls_has_the_law_of_the_data"): [
        ("process.sample(x_0, s, noise(k))", "process.sample(x_0, t, noise(k))"),
        ("torch.zeros_like(t)", "0.5 * t"),
    ],
    (f"{A}flow_map.quantities.ddim_target", "a_step_of_ddim_to_its_target_ends_where_it_should"): [
        ("alpha_s - alpha_t * ratio", "alpha_s + alpha_t * ratio"),
        ("x_s - like(ratio, x_t) * x_t", "x_s + like(ratio, x_t) * x_t"),
    ],
    (f"{A}objectives.consistency.earlier_level", "the_earlier_level_is_that_of_the_paper"): [
        ("torch.sigmoid(-t)", "torch.sigmoid(t)"),
        ("q ** (stage + 1)", "q ** stage"),
    ],
    (
        f"{A}flow_map.quantities.average_velocity",
        "the_average_velocity_is_the_mean_of_the_velocities_on_the_way",
    ): [("x_t - x_s", "x_s - x_t"), ("_difference(t, s)", "2 * _difference(t, s)")],
    (f"{A}flow_map.slope.slope_forward", "the_change_of_an_exact_flow_is_its_formula"): [
        ("dual(z, v)", "dual(z, 0 * v)"),
        ("place.moving(denoiser.schedule)", "place"),
    ],
    (f"{A}flow_map.network.FlowMapDenoiser.move", "the_map_goes_by_its_average_velocity"): [
        ("like(place.theta - theta_s, z)", "like(place.theta + theta_s, z)"),
        ("like(radius_s, z)", "like(place.radius, z)"),
    ],
    (f"{A}objectives.mean_flow.MeanFlow.at", "the_error_is_its_formula_for_any_network"): [
        ("u + like(place.theta - to, z) * change", "u - like(place.theta - to, z) * change"),
        ("velocity - sampled", "velocity + sampled"),
    ],
    (f"{D}process.Absorbing.reverse", "the_posterior_is_bayes_rule"): [
        ("lifted * p", "p"),
        ("(1 - lifted)", "lifted"),
    ],
    (f"{D}process.Uniform.reverse", "the_posterior_is_bayes_rule"): [
        ("1 - kept", "kept"),
        ("self.schedule.alpha(t) / self.schedule.alpha(s)", "self.schedule.alpha(t)"),
    ],
    (f"{D}process.Absorbing.bound_rate", "the_limit_of_masks_is_the_entropy"): [
        ("self.schedule.hazard(t)", "-self.schedule.slope(t)"),
        ("x_t == self.mask", "x_t != self.mask"),
    ],
    (f"{D}process.Uniform.bound_rate", "the_limit_is_that_of_long_chains_for_a_wrong_denoiser_too"): [
        ("model - exact", "exact - model"),
        ("-self.schedule.slope(t) / self.schedule.alpha(t) / self.tokens", "-self.schedule.slope(t) / self.tokens"),
    ],
    (f"{D}bound.bound_term", "the_bound_of_a_chain_falls_to_the_entropy_as_1_over_its_steps"): [
        ("torch.xlogy(q, q)", "torch.xlogy(p, p)"),
        ("p.clamp(min=1e-300)", "p.clamp(min=0.1)"),
    ],
    (f"{D}bound._of_count", "one_token_a_step_is_any_order_autoregression"): [
        ("(u * length).floor().long() + 1", "(u * length).floor().long()"),
        ("/ share.to(x_0.device)", "* share.to(x_0.device)"),
    ],
    (f"{D}objectives.any_order.AnyOrder.at", "the_loss_of_the_exact_denoiser_is_the_entropy_per_position"): [
        ("/ n.to(cross)", "/ length"),
        ("< n", "<= n"),
    ],
    (f"{D}exact.HiddenMarkovDenoiser.posterior", "the_exact_denoiser_is_bayes_rule_over_all_sequences"): [
        ("seen / total @ self.transition", "seen / total @ self.transition.T"),
        ("@ self.transition.T", "@ self.transition"),
    ],
    (f"{D}exact.MarkovDenoiser.entropy", "log_prob_and_entropy_are_those_of_the_enumerated_law"): [
        ("law = law @ self.transition", "law = self.initial"),
        ("length - 1", "length"),
    ],
    (f"{D}samplers.ancestral.ancestral", "ancestral_draws_the_law_of_its_kernel"): [
        ("denoiser(x, t), t, s)", "denoiser(x, t), t, 0 * s)"),
    ],
    (f"{D}samplers.first_hitting.first_hitting", "first_hitting_visits_the_times_of_the_process"): [
        ("** (1 / left.clamp(min=1))", "** (1 / (left + 1))"),
        ("draws()[:, 0] ** (1 / left.clamp(min=1))", "draws()[:, 0]"),
    ],
    (
        f"{D}samplers.predictor_corrector.predictor_corrector",
        "corrections_draw_the_law_of_their_kernel_which_is_nearer",
    ): [
        ("process.noised(x, r, draws(), s)", "x"),
    ],
    (f"{D}guidance.TokenGuidance.__call__", "guidance_tilts_the_law_of_one_token"): [
        ("(1 - self.scale) * log_free", "self.scale * log_free"),
        ("self.scale * log_p", "log_p"),
    ],
    ("train.weights.posthoc_ema.reconstruct", "any_length_after_training"): [
        ("alpha=weight", "alpha=2 * weight"),
        ("_recorded(gamma, found)", "_recorded(gamma + 1, found)"),
    ],
    (TRANSITION, "variances_of_the_reports_steps_add_up"): swapped_transition,
    (TRANSITION, "a_constant_beta_leaves_powers_of_one_minus_beta"): swapped_transition,
    (f"{CHAIN}log_likelihood", "jensens_inequality_has_the_gap_of_a_divergence"): [
        ("logsumexp(-costs, 0)", "logsumexp(costs, 0)"),
        ("- math.log(len(costs))", "- 2 * math.log(len(costs))"),
    ],
    (f"{CHAIN}log_p_path", "a_path_of_p_has_the_density_of_its_joint_gaussian"): [
        ("_state(x_0, path, i - 1)", "_state(x_0, path, i)"),
        ("range(len(path), 0, -1)", "range(len(path), 1, -1)"),
    ],
    (f"{CHAIN}log_q_path", "a_path_of_q_has_the_density_of_its_joint_gaussian"): [
        ("like(factor, before) * before", "before"),
        ("variance.log()", "2 * variance.log()"),
    ],
    (f"{CHAIN}log_q_path", "jensens_inequality_has_the_gap_of_a_divergence"): [
        ("before = x.double()", "before = x_0.double()"),
    ],
    (f"{CHAIN}path_terms", "bayes_rule_and_the_telescoping_sum_change_no_path"): [
        ("times[i], times[i - 1]", "times[i - 1], times[i - 2]"),
        ("ours - log_p_step", "ours + log_p_step"),
        ("-log_p_step(denoiser, path[0]", "log_p_step(denoiser, path[0]"),
    ],
    (f"{CHAIN}product_of_gaussians", "the_product_of_two_gaussians_is_a_gaussian"): [
        ("mean_1 / variance_1", "mean_1 / variance_2"),
        ("1 / variance_1 +", "1 / variance_1 -"),
    ],
    (f"{CHAIN}mean_from_eps", "the_mean_by_the_noise_is_the_posteriors_mean"): [
        ("/ like(factor, x_t)", ""),
        ("variance / sigma", "variance / sigma ** 2"),
    ],
    (f"{CHAIN}noise_weight", "the_weight_of_the_noise_is_that_of_the_divergence"): [
        ("factor ** 2 * ", ""),
        ("beta ** 2 / (2 *", "beta ** 2 / ("),
    ],
    (f"{A}likelihood.terms.gaussian_kl", "kl_is_the_integral"): [
        ("logvar1 - logvar2", "logvar2 - logvar1"),
        ("torch.exp(-logvar2)", "torch.exp(-logvar1)"),
    ],
    (f"{ELBO}step_kl", "a_step_costs_the_fall_of_snr_times_the_error"): [
        ("process.posterior_weights(t, s)[1]", "process.posterior_weights(t, s)[0]"),
    ],
    (f"{ELBO}prior_kl", "the_term_of_the_prior_is_the_divergence_of_two_normals"): [
        ("0.5 * (", "1.5 * ("),
        ("alpha / sigma", "alpha"),
    ],
    (f"{ELBO}decoder_loss", "decoder_takes_the_variance_of_the_second_step"): [
        ("t, torch.zeros_like(t), share, before", "t, torch.zeros_like(t), 1.0, before"),
    ],
    (f"{A}coding.world.GridWorld.marginal_terms", "the_three_groupings_of_the_bound_are_one_number"): [
        ("(pair / law).T", "pair.T"),
        ("law @ np.log2(law / self.prior)", "law @ np.log2(self.prior)"),
    ],
    (f"{A}coding.coder.send", "the_bits_of_every_step_are_those_of_the_path"): [
        ("tables.model(t, x)", "tables.model(last, x)"),
        ("cost[t] += stack.bits - before", "cost[t] = stack.bits - before"),
    ],
    (f"{A}coding.coder.receive", "what_was_sent_is_received_and_every_bit_is_given_back"): [
        ("range(1, last + 1)", "range(2, last + 1)"),
        ("found[::-1]", "found"),
    ],
}
