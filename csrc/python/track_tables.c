/* The tables of locks and owners: chained, by a number, doubled when full. With the tables taken (tracking.h). */
#include "tracking.h"

#include <stdlib.h>

Table entries, owners;
lots_a32 tracking_knows;

int table_insert(Table *t, Link *link)
{
    if (t->count >= t->capacity) {
        Table grown = {NULL, t->count, t->capacity ? 2 * t->capacity : 64};
        grown.slots = calloc(grown.capacity, sizeof *grown.slots);
        if (!grown.slots)
            return -1;
        for (size_t i = 0; i < t->capacity; i++)
            for (Link *l = t->slots[i], *next; l; l = next) {
                Link **slot = &grown.slots[slot_of(&grown, l->key)];
                next = l->next;
                l->next = *slot;
                *slot = l;
            }
        free(t->slots);
        *t = grown;
    }
    Link **slot = &t->slots[slot_of(t, link->key)];
    link->next = *slot;
    *slot = link;
    t->count++;
    return 0;
}

void table_remove(Table *t, Link *link)
{
    Link **at = &t->slots[slot_of(t, link->key)];
    while (*at != link)
        at = &(*at)->next;
    *at = link->next;
    t->count--;
}

Entry *entry_made(PyObject *lock, PyObject *name)
{
    Entry *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->link.key = key_of(lock);
    if (table_insert(&entries, &e->link)) {
        free(e);
        return NULL;
    }
    e->node = node_made(name, Py_TYPE(lock)->tp_name, 0);
    e->label = e->node ? label_joined(lock, name) : NULL;
    if (!e->label) {
        if (e->node)
            Py_XDECREF(node_dies(e->node)); /* a name that the lock has, too */
        table_remove(&entries, &e->link);
        free(e);
        return NULL;
    }
    a32_store(&tracking_knows, 1, RELAXED); /* whoever frees the lock got it from who did this */
    return e;
}


void entry_removed(Entry *e)
{
    table_remove(&entries, &e->link);
    label_left(e);
    if (!entries.count)
        a32_store(&tracking_knows, 0, RELAXED);
    free(e);
}
