// SPDX-License-Identifier: MIT
/* instance.c - see instance.h. */
#include "instance.h"

#include "atomic.h"
#include "notifier/pool.h"

/* A forked child inherits the pointer and finds the page zeroed: an instance again. */
static struct hmmu_instance *the_instance;

struct hmmu_instance *hmmu_instance_peek(void)
{
	/* Pairs with the exchange below. */
	return hmmu_load_acquire(&the_instance);
}

struct hmmu_instance *hmmu_instance(void)
{
	struct hmmu_instance *inst = hmmu_instance_peek(), *none = NULL;

	if (inst)
		return inst;
	inst = hmmu_map(4096, true);
	if (!inst)
		return NULL;
	if (hmmu_cas_seqcst(&the_instance, &none, inst))
		return inst;
	hmmu_unmap(inst, 4096);
	return none;
}
