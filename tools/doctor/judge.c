// SPDX-License-Identifier: MIT
/* judge.c - what a probe has shown, and what describe() had claimed. */
#include "doctor.h"

#include <errno.h>
#include <string.h>

static enum verdict broken(struct way *way, const char *why, int error)
{
	snprintf(way->why, sizeof(way->why), "%s%s%s", why, error ? ": " : "",
		 error ? strerror(-error) : "");
	way->error = error;
	return VERDICT_BROKEN;
}

/* The callback stood in the way of the change, and the end came after it. */
static bool brackets(const struct shared *s)
{
	if (!s->before_by)
		return false;
	if (!s->traced)
		return s->before_by == s->changer;
	return s->changed_by == s->before_by && s->changed.begin == -ETIMEDOUT &&
	       !s->changed.ok;
}

static bool by_return(const struct shared *s)
{
	return !s->after.ok && s->told_by_then && !s->stale &&
	       (s->later == 0 || s->later == -ENODEV);
}

static enum verdict judge_begun(const struct shared *s, struct way *way)
{
	way->proven = s->traced;
	if (s->call == -EIO)
		return broken(way, "the helper", s->call);
	if (s->call < 0) {
		way->error = s->call;
		snprintf(way->why, sizeof(way->why), "%s", strerror(-s->call));
		return VERDICT_REFUSED;
	}
	if (!s->armed && !s->traced) {
		snprintf(way->why, sizeof(way->why), "needs ptrace");
		return VERDICT_REFUSED;
	}
	if (!s->armed)
		return broken(way, "the reader found no moment to begin", 0);
	if (s->begin)
		return broken(way, "the reader", s->begin);
	if (s->after.old)
		return broken(way, "the change does not show", 0);
	if (s->later == -ETIMEDOUT)
		return broken(way, "a reader waits for ever after it", 0);
	if (!by_return(s)) {
		if (s->stale && !s->after.ok)
			snprintf(way->why, sizeof(way->why),
				 "a reader that began during the call is not told");
		else if (!s->after.ok && !s->told_by_then)
			snprintf(way->why, sizeof(way->why), "no callback came");
		else if (s->told_by_then)
			snprintf(way->why, sizeof(way->why), "told after the return");
		return VERDICT_UNWATCHED;
	}
	return brackets(s) ? VERDICT_BRACKETED : VERDICT_BY_RETURN;
}

enum verdict judge(const struct shared *s, struct way *way)
{
	if (s->setup_error == -ENOENT)
		return VERDICT_NONE;
	if (s->setup_error && !strcmp(s->setup_what, "prepare")) {
		way->error = s->setup_error;
		snprintf(way->why, sizeof(way->why), "%s", strerror(-s->setup_error));
		return VERDICT_REFUSED;
	}
	if (s->setup_error)
		return broken(way, s->setup_what, s->setup_error);
	if (s->open_error)
		return broken(way, "hmmu_mm_open", s->open_error);
	if (s->begin == -ENODEV) {
		way->says_so = true;
		return VERDICT_UNWATCHED;
	}
	if (s->begin)
		return broken(way, "hmmu_read_begin", s->begin);
	return judge_begun(s, way);
}

/* What is said of the kind, or else of any; of several sources the best. */
int claim_of(const struct set *set, unsigned int op, unsigned int caller, unsigned int memory)
{
	int any = -1, own = -1;

	for (unsigned int i = 0; i < set->nclaims; i++) {
		const struct hmmu_coverage *c = &set->claim[i];
		int *best = c->memory == memory ? &own : &any;

		if (c->operation != op || c->caller != caller)
			continue;
		if (c->memory != memory && c->memory != HMMU_MEMORY_ANY)
			continue;
		if (c->exactness > *best)
			*best = c->exactness;
	}
	return own >= 0 ? own : any;
}
