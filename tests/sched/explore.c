// SPDX-License-Identifier: MIT
/*
 * explore.c - depth first through the choices of a program, by running it again and again.
 *
 * A run makes a sequence of choices. The usual one: run on; or the first that can. The
 * search keeps a stack of the choices of the current run at which something else is
 * still to be tried. The next run repeats this one up to the last of them, chooses that,
 * and makes the usual choices from then on, which are new and may go onto the stack.
 *
 * Pruning: see scheduler.h. A choice counts as explored when it goes onto the stack or is
 * made; a run whose next choice has been explored is only brought to its end.
 */
#include "inside.h"

#include <stdlib.h>
#include <string.h>

#define MAX_NODES 65536

struct node {
	uint32_t number; /* of the choice in its run */
	uint8_t chosen;
	uint8_t todo; /* bits */
	uint8_t costly;
	uint8_t left; /* preemptions, before it */
	uint8_t usual;
	uint64_t state;
};

static struct {
	struct node stack[MAX_NODES];
	struct node again[MAX_NODES]; /* of this run's beginning: the unusual choices */
	unsigned int depth, nagain, at;
	uint32_t number;
	unsigned int bound, left;
	bool prune, known, replay;
	struct sched_set *seen;
	uint64_t last; /* the state of the last choice of this run */
	char problem[96];
} search;

void sched_explore_begin(unsigned int bound, bool prune, uint64_t max_runs)
{
	if (search.seen)
		sched_set_free(search.seen);
	memset(&search, 0, sizeof(search));
	search.bound = bound;
	search.prune = prune;
	search.seen = sched_set_new(prune ? 32 * max_runs : 0);
}

void sched_explore_start_run(void)
{
	search.at = 0;
	search.number = 0;
	search.left = search.bound;
	search.known = false;
	search.last = 0;
}

bool sched_explore_is_new(void)
{
	return search.at == search.nagain && !search.known;
}

/* The beginning is an earlier run's, up to and with the last of search.again. */
static int repeat(uint32_t number, unsigned int costly, int usual, uint64_t state)
{
	const struct node *node = &search.again[search.at];
	int choice = usual;

	if (node->number == number) {
		if (node->state && node->state != state)
			snprintf(search.problem, sizeof(search.problem),
				 "the program does not repeat itself (choice %u)", number);
		choice = node->chosen;
		search.at++;
	}
	if (costly & 1u << choice)
		search.left--;
	return choice;
}

static bool unexplored(uint64_t state, int choice, unsigned int left)
{
	return !search.prune ||
	       sched_set_raise(search.seen,
			       sched_hash_word(sched_hash_word(state, (uint64_t)choice), 1),
			       left);
}

int sched_explore_choice(unsigned int can, unsigned int costly, int usual, uint64_t state)
{
	uint32_t number = search.number++;
	struct node node = {.number = number,
			    .chosen = (uint8_t)usual,
			    .usual = (uint8_t)usual,
			    .costly = (uint8_t)costly,
			    .left = (uint8_t)search.left,
			    .state = state};

	/* Else a run would prune itself. */
	if (state == search.last)
		snprintf(search.problem, sizeof(search.problem),
			 "two choices in one state (choice %u)", number);
	search.last = state;
	if (search.at < search.nagain)
		return repeat(number, costly, usual, state);
	if (search.known || search.replay)
		return usual;
	for (int i = 0; i < SCHED_MAX_THREADS; i++) {
		unsigned int cost = costly >> i & 1;

		if (!(can >> i & 1) || i == usual || cost > search.left)
			continue;
		if (unexplored(state, i, search.left - cost))
			node.todo |= (uint8_t)(1u << i);
	}
	if (!unexplored(state, usual, search.left))
		search.known = true;
	if (node.todo && search.depth < MAX_NODES)
		search.stack[search.depth++] = node;
	else if (node.todo)
		snprintf(search.problem, sizeof(search.problem), "more than %d choices",
			 MAX_NODES);
	return usual;
}

bool sched_explore_next(void)
{
	struct node *node;

	while (search.depth && !search.stack[search.depth - 1].todo)
		search.depth--;
	if (!search.depth)
		return false;
	node = &search.stack[search.depth - 1];
	node->chosen = (uint8_t)__builtin_ctz(node->todo);
	node->todo &= (uint8_t)(node->todo - 1);
	search.nagain = 0;
	for (unsigned int i = 0; i < search.depth; i++)
		if (search.stack[i].chosen != search.stack[i].usual)
			search.again[search.nagain++] = search.stack[i];
	return true;
}

void sched_explore_trail(char *text, size_t size)
{
	size_t n = 0;

	snprintf(text, size, "-");
	for (unsigned int i = 0; i < search.nagain && n < size; i++)
		n += (size_t)snprintf(text + n, size - n, "%s%u:%u", i ? "," : "",
				      search.again[i].number, search.again[i].chosen);
}

void sched_explore_replay(const char *text)
{
	search.replay = true;
	search.nagain = 0;
	while (*text && search.nagain < MAX_NODES) {
		char *end;
		unsigned long number = strtoul(text, &end, 10), chosen;

		if (*end != ':')
			break;
		chosen = strtoul(end + 1, &end, 10);
		search.again[search.nagain++] =
			(struct node){.number = (uint32_t)number, .chosen = (uint8_t)chosen};
		text = *end == ',' ? end + 1 : end;
	}
	search.left = search.bound = search.nagain;
}

const char *sched_explore_problem(void)
{
	return search.problem[0] ? search.problem : NULL;
}
