// Lets programs import the packages beside this file, wherever they are themselves. Node looks for packages only in the
// folders above a program, and has no path to search for ES modules.
import { register } from 'node:module'
import { isMainThread } from 'node:worker_threads'

// Node loads the hooks below in a thread of their own.
if (isMainThread) register(import.meta.url)

const isPackage = (specifier) => !/^[./#]|^\w+:/.test(specifier)

export async function resolve(specifier, context, next) {
  try {
    return await next(specifier, context)
  } catch (error) {
    if (!isPackage(specifier)) throw error
    return next(specifier, { ...context, parentURL: import.meta.url })
  }
}
